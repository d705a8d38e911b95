//! Attributes of groups: sent once for all rows whose key matches, and looked up for every row.

use std::collections::HashMap;

/// Bytes of all group attributes of one data set that are kept at a time.
const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a cell takes besides its text.
const CELL_BYTES: usize = 48;
/// Kinds of groups of one data set; every row is looked up in each.
const GROUP_KINDS_MAX: usize = 1_000;
/// Stands between key parts, and cannot be in XML or JSON text.
const KEY_SEPARATOR: char = '\u{0}';

type Cells = Vec<(usize, String)>;

#[derive(Debug, Default)]
struct Kind {
    name: String,
    /// Columns of the key; `None` until a row shows which of the group's columns it has of its own.
    keys: Option<Vec<usize>>,
    waiting: Vec<Cells>,
    by_key: HashMap<String, Cells>,
}

/// The groups of one data set, by kind (`SiblingGroup` …).
#[derive(Debug, Default)]
pub(super) struct Groups {
    kinds: Vec<Kind>,
    bytes: usize,
    key: String,
    hits: Vec<(usize, String)>,
    /// The key of the row before; rows of one series mostly share it.
    before: String,
    probe: String,
}

/// Gives a row's own cell of a column.
pub(super) type Own<'a> = dyn Fn(usize) -> Option<&'a str> + 'a;

impl Groups {
    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Adds a group with its key cells and attribute cells.
    pub(super) fn add(&mut self, name: &str, keys: Option<&[usize]>, cells: Cells) -> Result<(), String> {
        if cells.is_empty() {
            return Ok(());
        }
        self.bytes += cells.iter().map(|(_, text)| text.len() + CELL_BYTES).sum::<usize>();
        if self.bytes > GROUP_BYTES_MAX {
            return Err(format!("group attributes of more than {GROUP_BYTES_MAX} bytes in one data set"));
        }
        let found = self.kinds.iter().position(|kind| kind.name == name && matches_keys(kind, keys));
        let index = match found {
            Some(index) => index,
            None if self.kinds.len() == GROUP_KINDS_MAX => {
                return Err(format!("more than {GROUP_KINDS_MAX} kinds of groups in one data set"));
            }
            None => {
                let keys = keys.map(<[usize]>::to_vec);
                self.bytes += name.len();
                self.kinds.push(Kind { name: name.to_owned(), keys, ..Kind::default() });
                self.kinds.len() - 1
            }
        };
        let kind = &mut self.kinds[index];
        match &kind.keys {
            Some(keys) => {
                let keys = keys.clone();
                insert(kind, &keys, cells);
            }
            None => kind.waiting.push(cells),
        }
        self.before.clear();
        Ok(())
    }

    /// Returns the cells found by the last [`Groups::look_up`].
    pub(super) fn hits(&self) -> impl Iterator<Item = (usize, &str)> {
        self.hits.iter().map(|(index, text)| (*index, text.as_str()))
    }

    /// Finds the attribute cells of a row by the row's own cells; [`Groups::hits`] gives them.
    pub(super) fn look_up(&mut self, own: &Own<'_>) {
        for kind in &mut self.kinds {
            settle(kind, own);
        }
        self.probe.clear();
        for kind in &self.kinds {
            for column in kind.keys.iter().flatten() {
                self.probe.push_str(own(*column).unwrap_or("\u{1}"));
                self.probe.push(KEY_SEPARATOR);
            }
        }
        if self.probe == self.before && !self.before.is_empty() {
            return;
        }
        std::mem::swap(&mut self.probe, &mut self.before);
        self.hits.clear();
        for kind in &self.kinds {
            let Some(keys) = &kind.keys else { continue };
            self.key.clear();
            for column in keys {
                self.key.push_str(own(*column).unwrap_or("\u{1}"));
                self.key.push(KEY_SEPARATOR);
            }
            if let Some(cells) = kind.by_key.get(&self.key) {
                self.hits.extend(cells.iter().filter(|(index, _)| !keys.contains(index)).cloned());
            }
        }
    }
}

fn matches_keys(kind: &Kind, keys: Option<&[usize]>) -> bool {
    match keys {
        Some(keys) => kind.keys.as_deref() == Some(keys),
        None => true,
    }
}

/// Once a row is there: the group's key is what it shares with the row's own cells.
fn settle(kind: &mut Kind, own: &Own<'_>) {
    if kind.keys.is_some() {
        return;
    }
    let mut columns: Vec<usize> = kind.waiting.iter().flatten().map(|(index, _)| *index).collect();
    columns.sort_unstable();
    columns.dedup();
    let keys: Vec<usize> = columns.into_iter().filter(|index| own(*index).is_some()).collect();
    for cells in std::mem::take(&mut kind.waiting) {
        insert(kind, &keys, cells);
    }
    kind.keys = Some(keys);
}

fn insert(kind: &mut Kind, keys: &[usize], cells: Cells) {
    let mut key = String::new();
    for column in keys {
        let part = cells.iter().find(|(index, _)| index == column).map_or("\u{2}", |(_, text)| text.as_str());
        key.push_str(part);
        key.push(KEY_SEPARATOR);
    }
    kind.by_key.entry(key).or_default().extend(cells);
}
