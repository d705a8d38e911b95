//! The observations of an SDMX-JSON message as a stream of rows: indices become codes, attributes of data set, group of
//! dimensions and series are repeated into the rows they belong to.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::json_message::{Component, DataSet, Structure};
use super::rows::{Level, Role, Rows};
use crate::error::DecodeError;
use crate::pump::Sink;

/// Observations that are kept when a series gives them before its attributes.
const OBSERVATIONS_BEFORE_ATTRIBUTES_MAX: usize = 1_000_000;

/// A dimension with the texts of its values.
struct Axis {
    id: String,
    texts: Vec<Option<String>>,
    /// Place in the whole key.
    position: usize,
}

/// Cells of attributes attached to some of the dimensions.
struct GroupCells {
    positions: Vec<usize>,
    by_key: HashMap<Vec<usize>, Vec<(String, String)>>,
}

/// How the indices of one data set are read.
pub(super) struct Axes {
    data_set: Vec<Axis>,
    series: Vec<Axis>,
    observation: Vec<Axis>,
    /// Ids in key order.
    ids: Vec<String>,
    measures: Vec<Component>,
    series_attributes: Vec<Component>,
    observation_attributes: Vec<Component>,
    data_set_cells: Vec<(String, String)>,
    groups: Vec<GroupCells>,
    deletes: bool,
}

impl Axes {
    /// Prepares every data set of a message.
    pub(super) fn of_message(structures: &[Structure], data_sets: Vec<DataSet>) -> Result<Vec<Self>, String> {
        data_sets.into_iter().map(|data_set| Self::of_data_set(structures, &data_set)).collect()
    }

    fn of_data_set(structures: &[Structure], data_set: &DataSet) -> Result<Self, String> {
        let index = data_set.structure.unwrap_or(0);
        let structure = structures.get(index).ok_or_else(|| format!("there is no structure {index}"))?;
        let levels = &structure.dimensions;
        let all = levels.data_set.iter().chain(&levels.series).chain(&levels.observation);
        let mut order: Vec<&Component> = all.collect();
        order.sort_by_key(|dimension| dimension.key_position.unwrap_or(usize::MAX));
        let ids: Vec<String> = order.iter().map(|dimension| dimension.id.clone()).collect();
        let axes = |dimensions: &[Component]| -> Result<Vec<Axis>, String> {
            dimensions.iter().map(|dimension| axis(dimension, &ids)).collect()
        };
        let attributes = &structure.attributes;
        let mut data_set_cells = Vec::new();
        for (component, cell) in attributes.data_set.iter().zip(data_set.attributes.iter().flatten()) {
            data_set_cells.extend(component.text_of(cell)?.map(|text| (component.id.clone(), text)));
        }
        let mut groups: Vec<GroupCells> = Vec::new();
        for (key, cells) in data_set.dimension_group_attributes.iter().flatten() {
            add_group(&mut groups, key, cells, &attributes.dimension_group, ids.len())?;
        }
        let mut measures = structure.measures.observation.clone();
        if measures.is_empty() {
            measures.push(Component { id: "OBS_VALUE".to_owned(), ..Component::default() });
        }
        Ok(Self {
            data_set: axes(&levels.data_set)?,
            series: axes(&levels.series)?,
            observation: axes(&levels.observation)?,
            measures,
            series_attributes: attributes.series.clone(),
            observation_attributes: attributes.observation.clone(),
            ids,
            data_set_cells,
            groups,
            deletes: data_set.action.as_deref() == Some("Delete"),
        })
    }
}

fn axis(dimension: &Component, ids: &[String]) -> Result<Axis, String> {
    let texts: Result<Vec<_>, _> = (0..dimension.values.len()).map(|index| dimension.text_at(index)).collect();
    let position = ids.iter().position(|id| *id == dimension.id).unwrap_or_default();
    Ok(Axis { id: dimension.id.clone(), texts: texts?, position })
}

fn add_group(
    groups: &mut Vec<GroupCells>,
    key: &str,
    cells: &[Value],
    attributes: &[Component],
    dimensions: usize,
) -> Result<(), String> {
    let parts: Vec<&str> = key.split(':').collect();
    if parts.len() != dimensions {
        return Err(format!("the group key `{key}` has {} parts, there are {dimensions} dimensions", parts.len()));
    }
    let (mut positions, mut indices) = (Vec::new(), Vec::new());
    for (position, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        positions.push(position);
        indices.push(part.parse::<usize>().map_err(|_| format!("the group key `{key}` is not made of indices"))?);
    }
    let mut texts = Vec::new();
    for (component, cell) in attributes.iter().zip(cells) {
        texts.extend(component.text_of(cell)?.map(|text| (component.id.clone(), text)));
    }
    match groups.iter_mut().find(|group| group.positions == positions) {
        Some(group) => group.by_key.entry(indices).or_default().extend(texts),
        None => groups.push(GroupCells { positions, by_key: HashMap::from([(indices, texts)]) }),
    }
    Ok(())
}

/// The state of the walk through the observations.
pub(super) struct Reading<'s> {
    axes: Vec<Axes>,
    current: usize,
    /// The observations stand directly in the data set: their keys hold the dimensions of the series as well.
    is_flat: bool,
    /// Indices of the row in key order.
    indices: Vec<usize>,
    rows: Rows,
    sink: Sink<'s>,
    /// Why the sink took no more: serde's errors cannot carry it.
    pub(super) failure: Option<DecodeError>,
}

impl<'s> Reading<'s> {
    pub(super) fn new(axes: Vec<Axes>, rows: Rows, sink: Sink<'s>) -> Self {
        Self { axes, current: 0, is_flat: false, indices: Vec::new(), rows, sink, failure: None }
    }

    /// Delivers the last rows.
    pub(super) fn finish(mut self) -> Result<(), DecodeError> {
        match self.rows.take() {
            Some(batch) => (self.sink)(batch),
            None => Ok(()),
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        let Some(batch) = self.rows.take() else { return Ok(()) };
        (self.sink)(batch).map_err(|failure| {
            let what = failure.to_string();
            self.failure = Some(failure);
            what
        })
    }

    fn begin_data_set(&mut self, index: usize) -> Result<(), String> {
        self.current = index;
        let axes = self.axes.get(index).ok_or("a data set more than at the first reading")?;
        self.rows.forget(Level::DataSet);
        self.indices.clear();
        self.indices.resize(axes.ids.len(), 0);
        for id in &axes.ids {
            self.rows.column(id, Role::Dimension)?;
        }
        for axis in &axes.data_set {
            if let Some(Some(text)) = axis.texts.first() {
                self.rows.set(Level::DataSet, &axis.id, Role::Dimension, text)?;
            }
        }
        for (id, text) in &axes.data_set_cells {
            self.rows.set(Level::DataSet, id, Role::Attribute, text)?;
        }
        if axes.deletes {
            self.rows.set(Level::DataSet, "ACTION", Role::Attribute, "D")?;
        }
        Ok(())
    }

    fn begin_series(&mut self, key: &str) -> Result<(), String> {
        self.rows.forget(Level::Series);
        let axes = self.axes.get(self.current).ok_or("a series outside of a data set")?;
        set_key(&mut self.rows, &mut self.indices, &axes.series, Level::Series, key)
    }

    fn series_attributes(&mut self, cells: &[Value]) -> Result<(), String> {
        let axes = self.axes.get(self.current).ok_or("a series outside of a data set")?;
        for (component, cell) in axes.series_attributes.iter().zip(cells) {
            if let Some(text) = component.text_of(cell)? {
                self.rows.set(Level::Series, &component.id, Role::Attribute, &text)?;
            }
        }
        Ok(())
    }

    fn observation(&mut self, key: &str, cells: &[Value]) -> Result<(), String> {
        let axes = self.axes.get(self.current).ok_or("an observation outside of a data set")?;
        let mut key = key;
        if self.is_flat && !axes.series.is_empty() {
            let (of_series, rest) = split_key(key, axes.series.len());
            set_key(&mut self.rows, &mut self.indices, &axes.series, Level::Observation, of_series)?;
            key = rest;
        }
        set_key(&mut self.rows, &mut self.indices, &axes.observation, Level::Observation, key)?;
        // Cells behind the last attribute are annotations, which are not taken.
        let mut cells = cells.iter();
        for component in &axes.measures {
            if let Some(text) = component.text_of(cells.next().unwrap_or(&Value::Null))? {
                self.rows.set(Level::Observation, &component.id, Role::Measure, &text)?;
            }
        }
        for (component, cell) in axes.observation_attributes.iter().zip(cells) {
            if let Some(text) = component.text_of(cell)? {
                self.rows.set(Level::Observation, &component.id, Role::Attribute, &text)?;
            }
        }
        for group in &axes.groups {
            let key: Vec<usize> = group.positions.iter().map(|position| self.indices[*position]).collect();
            for (id, text) in group.by_key.get(&key).into_iter().flatten() {
                self.rows.set(Level::Observation, id, Role::Attribute, text)?;
            }
        }
        self.rows.end_row();
        if self.rows.is_full() { self.deliver() } else { Ok(()) }
    }
}

/// Splits a key behind its first `count` parts.
fn split_key(key: &str, count: usize) -> (&str, &str) {
    let end = key.match_indices(':').nth(count - 1).map(|(place, _)| place);
    end.map_or((key, ""), |place| (&key[..place], &key[place + 1..]))
}

/// Sets the dimensions that `key` (`0:3:1`) gives by index.
fn set_key(rows: &mut Rows, indices: &mut [usize], axes: &[Axis], level: Level, key: &str) -> Result<(), String> {
    if axes.is_empty() && matches!(key, "" | "0") {
        return Ok(());
    }
    let mut parts = key.split(':');
    for axis in axes {
        let part = parts.next().ok_or_else(|| format!("the key `{key}` lacks the index of `{}`", axis.id))?;
        let index: usize = part.parse().map_err(|_| format!("the key `{key}` is not made of indices"))?;
        let text = axis.texts.get(index).ok_or_else(|| {
            format!("`{}` has {} values, the key `{key}` points beyond them", axis.id, axis.texts.len())
        })?;
        if let Some(slot) = indices.get_mut(axis.position) {
            *slot = index;
        }
        if let Some(text) = text {
            rows.set(level, &axis.id, Role::Dimension, text)?;
        }
    }
    match parts.next() {
        None => Ok(()),
        Some(_) => Err(format!("the key `{key}` has more than {} parts", axes.len())),
    }
}

/// Reads the message, or its member `data`, which holds the same things.
pub(super) struct MessageSeed<'r, 's>(pub(super) &'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for MessageSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an SDMX-JSON data message")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "data" => map.next_value_seed(MessageSeed(self.0))?,
                "dataSets" => map.next_value_seed(DataSetsSeed(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct DataSetsSeed<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for DataSetsSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for DataSetsSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of data sets")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while items.next_element_seed(DataSetSeed { reading: &mut *self.0, index })?.is_some() {
            index += 1;
        }
        Ok(())
    }
}

struct DataSetSeed<'r, 's> {
    reading: &'r mut Reading<'s>,
    index: usize,
}

impl<'de> DeserializeSeed<'de> for DataSetSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DataSetSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a data set")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.reading.begin_data_set(self.index).map_err(A::Error::custom)?;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "series" => {
                    self.reading.is_flat = false;
                    map.next_value_seed(Entries::Series(&mut *self.reading))?;
                }
                "observations" => {
                    self.reading.is_flat = true;
                    map.next_value_seed(Entries::Observations(&mut *self.reading))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// An object whose members are series or observations by key.
enum Entries<'r, 's> {
    Series(&'r mut Reading<'s>),
    Observations(&'r mut Reading<'s>),
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of series or observations")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self {
            Entries::Series(reading) => {
                while let Some(key) = map.next_key::<String>()? {
                    reading.begin_series(&key).map_err(A::Error::custom)?;
                    map.next_value_seed(SeriesSeed(reading))?;
                }
                reading.rows.forget(Level::Series);
            }
            Entries::Observations(reading) => {
                while let Some((key, cells)) = map.next_entry::<String, Vec<Value>>()? {
                    reading.observation(&key, &cells).map_err(A::Error::custom)?;
                }
            }
        }
        Ok(())
    }
}

struct SeriesSeed<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for SeriesSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SeriesSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a series")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut has_attributes = false;
        let mut early = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "attributes" => {
                    let cells: Option<Vec<Value>> = map.next_value()?;
                    reading.series_attributes(&cells.unwrap_or_default()).map_err(A::Error::custom)?;
                    has_attributes = true;
                }
                "observations" if has_attributes => map.next_value_seed(Entries::Observations(&mut *reading))?,
                "observations" => early = map.next_value_seed(EarlyObservations)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (key, cells) in &early {
            reading.observation(key, cells).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Observations that stand before the attributes of their series are kept until those are known.
struct EarlyObservations;

impl<'de> DeserializeSeed<'de> for EarlyObservations {
    type Value = Vec<(String, Vec<Value>)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EarlyObservations {
    type Value = Vec<(String, Vec<Value>)>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of observations")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if kept.len() >= OBSERVATIONS_BEFORE_ATTRIBUTES_MAX {
                return Err(A::Error::custom(format!(
                    "a series gives more than {OBSERVATIONS_BEFORE_ATTRIBUTES_MAX} observations before its attributes"
                )));
            }
            kept.push(entry);
        }
        Ok(kept)
    }
}
