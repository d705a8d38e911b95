//! What was made of the few dictionaries that are being read: each stands for many batches, and work on its texts is
//! done once. A dictionary is known by where its texts lie in memory, which stays theirs while they are held here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

/// Dictionaries that are remembered: one for each thread that reads, and some more.
const HELD_MAX: usize = 64;
/// Bytes of them and of what was made of them; the last one is held however large it is.
const HELD_BYTES_MAX: usize = 64 << 20;
/// All texts of a dictionary are worth looking at once the rows seen are this part of them.
const WORTH_PART: usize = 2;

/// Results by dictionary, the last used first.
#[derive(Default)]
pub(super) struct Recent {
    held: Mutex<VecDeque<Held>>,
}

struct Held {
    texts: ArrayRef,
    rows: usize,
    made: Made,
}

#[derive(Clone)]
enum Made {
    NotYet,
    /// It cannot be made of all texts.
    Never,
    Values(ArrayRef),
}

impl fmt::Debug for Recent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Recent")
    }
}

impl Recent {
    /// Returns what `make` makes of a dictionary's texts, made now or before; nothing where `make` gives nothing, and as long as
    /// the dictionary is too large for the rows seen with it. `rows` is the number of this batch's.
    pub(super) fn get(
        &self,
        texts: &ArrayRef,
        rows: usize,
        make: impl FnOnce(&ArrayRef) -> Result<Option<ArrayRef>>,
    ) -> Result<Option<ArrayRef>> {
        let (seen, made) = self.look(texts, rows);
        match made {
            Made::Values(values) => return Ok(Some(values)),
            Made::Never => return Ok(None),
            Made::NotYet if seen < texts.len() / WORTH_PART => return Ok(None),
            Made::NotYet => {}
        }
        let values = make(texts)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.iter_mut().find(|held| is_same(&held.texts, texts)) {
            known.made = values.clone().map_or(Made::Never, Made::Values);
        }
        shorten(&mut held);
        Ok(values)
    }

    /// Returns the rows seen with a dictionary, these included, and what was made of it.
    fn look(&self, texts: &ArrayRef, rows: usize) -> (usize, Made) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.iter().position(|held| is_same(&held.texts, texts));
        let mut known = match place.and_then(|place| held.remove(place)) {
            Some(known) => known,
            None => {
                held.retain(|held| is_in_use(&held.texts));
                Held { texts: texts.clone(), rows: 0, made: Made::NotYet }
            }
        };
        known.rows = known.rows.saturating_add(rows);
        let answer = (known.rows, known.made.clone());
        held.push_front(known);
        shorten(&mut held);
        answer
    }
}

impl Held {
    fn bytes(&self) -> usize {
        let made = match &self.made {
            Made::Values(values) => values.get_buffer_memory_size(),
            Made::NotYet | Made::Never => 0,
        };
        self.texts.get_buffer_memory_size().saturating_add(made)
    }
}

/// Forgets what was not used for longest, where that is too much.
fn shorten(held: &mut VecDeque<Held>) {
    let mut bytes = 0_usize;
    let fits = held.iter().take(HELD_MAX).take_while(|held| {
        bytes = bytes.saturating_add(held.bytes());
        bytes <= HELD_BYTES_MAX
    });
    let fits = fits.count().max(1);
    held.truncate(fits);
}

/// Says whether anybody else holds the dictionary still; once its row group is read, nobody asks for it again.
fn is_in_use(texts: &ArrayRef) -> bool {
    if Arc::strong_count(texts) > 1 {
        return true;
    }
    let buffer = match texts.data_type() {
        DataType::Utf8 => texts.as_string::<i32>().offsets().inner().inner(),
        DataType::Utf8View => texts.as_string_view().views().inner(),
        _ => return true,
    };
    buffer.strong_count() > 1
}

/// Says whether two arrays are the same memory.
fn is_same(left: &ArrayRef, right: &ArrayRef) -> bool {
    if left.len() != right.len() || left.data_type() != right.data_type() {
        return false;
    }
    match left.data_type() {
        DataType::Utf8 => {
            let (left, right) = (left.as_string::<i32>(), right.as_string::<i32>());
            left.value_offsets().as_ptr() == right.value_offsets().as_ptr()
                && left.value_data().as_ptr() == right.value_data().as_ptr()
        }
        DataType::Utf8View => {
            std::ptr::eq(left.as_string_view().views().as_ptr(), right.as_string_view().views().as_ptr())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn dictionary(count: usize) -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..count).map(|n| n.to_string())))
    }

    fn lengths(texts: &ArrayRef) -> Result<Option<ArrayRef>> {
        Ok(Some(arrow::compute::kernels::length::length(texts)?))
    }

    #[test]
    fn work_is_done_once_and_only_when_it_pays() {
        let recent = Recent::default();
        let (texts, other) = (dictionary(100), dictionary(100));
        let expected = lengths(&texts).unwrap().unwrap();
        assert!(recent.get(&texts, 20, lengths).unwrap().is_none());
        assert_eq!(&recent.get(&texts.slice(0, 100), 40, lengths).unwrap().unwrap(), &expected);
        assert_eq!(&recent.get(&texts, 1, |_| panic!("made twice")).unwrap().unwrap(), &expected);
        // Equal texts elsewhere are another dictionary.
        assert!(recent.get(&other, 1, lengths).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_made_is_not_tried_again() {
        let recent = Recent::default();
        let texts = dictionary(10);
        assert!(recent.get(&texts, 10, |_| Ok(None)).unwrap().is_none());
        assert!(recent.get(&texts, 10, |_| panic!("tried again")).unwrap().is_none());
    }

    #[test]
    fn dictionaries_that_nobody_reads_are_let_go() {
        let recent = Recent::default();
        let texts = dictionary(3);
        recent.get(&texts.slice(0, 3), 9, lengths).unwrap();
        for _ in 0..10 {
            recent.get(&dictionary(5), 9, lengths).unwrap();
        }
        let held = recent.held.lock().unwrap();
        assert_eq!(held.len(), 2);
        assert!(held.iter().any(|held| is_same(&held.texts, &texts)));
    }

    #[test]
    fn only_so_much_is_held_and_the_last_used_stays() {
        let recent = Recent::default();
        let many: Vec<ArrayRef> = (0..HELD_MAX * 2).map(|_| dictionary(5)).collect();
        for texts in &many {
            recent.get(texts, 9, lengths).unwrap();
            recent.get(&many[0], 9, lengths).unwrap();
        }
        assert_eq!(recent.held.lock().unwrap().len(), HELD_MAX);
        recent.get(&many[0], 9, |_| panic!("the last used was let go")).unwrap();
        let large = |_: &ArrayRef| -> Result<Option<ArrayRef>> {
            Ok(Some(Arc::new(StringArray::from(vec!["x".repeat(HELD_BYTES_MAX / 2)]))))
        };
        for texts in &many[1..5] {
            // Forgotten before, so this is made now.
            recent.get(&texts.slice(0, 4), 9, large).unwrap();
        }
        let held = recent.held.lock().unwrap();
        assert!(held.iter().map(Held::bytes).sum::<usize>() <= HELD_BYTES_MAX, "{} dictionaries", held.len());
    }
}
