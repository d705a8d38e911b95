//! Reads a page's envelope: the few scalars that paging and completeness need, the number of records, and a hash of the
//! records alone. The body is read as a stream; neither rows nor anything else of it is kept.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{BufReader, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::body;
use crate::json::{Pointer, Scalar};

/// The key under which serde_json hands over numbers that it keeps digit for digit.
const NUMBER_KEY: &str = "$serde_json::private::Number";
/// Bytes that are hashed at once.
const HASH_BYTES: usize = 8 * 1024;

/// What is looked for in a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvelopeQuery {
    /// Where the records are; `*` for every item.
    pub(crate) records: Vec<String>,
    /// Scalars, answered in this order.
    pub(crate) scalars: Vec<Pointer>,
    /// A place in each record: the last record's is kept.
    pub(crate) last: Option<Pointer>,
    /// A place in each record: the greatest is kept.
    pub(crate) greatest: Option<Pointer>,
}

/// What was found in a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Envelope {
    /// In the order of the query; `None` where nothing stands there.
    pub(crate) scalars: Vec<Option<Scalar>>,
    /// Records.
    pub(crate) records: u64,
    /// Whether the place of the records was there at all.
    pub(crate) has_records: bool,
    /// SHA-256 of the text of the records.
    pub(crate) records_sha256: String,
    /// The last record's key.
    pub(crate) last: Option<Scalar>,
    /// The greatest position of all records.
    pub(crate) greatest: Option<Scalar>,
}

/// Reads an envelope.
///
/// # Errors
/// Where the body is not JSON, with line and column.
pub(crate) fn read(query: &EnvelopeQuery, body: impl Read) -> Result<Envelope, serde_json::Error> {
    let tap = Rc::new(Tap::default());
    let input = Tapped { inner: BufReader::with_capacity(64 * 1024, body), tap: tap.clone() };
    let mut state = State {
        query,
        tap: tap.as_ref(),
        found: Envelope { scalars: vec![None; query.scalars.len()], ..Envelope::default() },
    };
    let wanted =
        query.scalars.iter().enumerate().map(|(index, place)| (Target::Scalar(index), place.segments())).collect();
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    Walk { state: &mut state, wanted, records: Some(&query.records) }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let mut found = state.found;
    found.records_sha256 = tap.finish();
    Ok(found)
}

/// Hashes what is read while it is on.
#[derive(Default)]
struct Tap {
    is_on: Cell<bool>,
    pending: RefCell<Vec<u8>>,
    hash: RefCell<Sha256>,
}

impl Tap {
    fn take(&self, bytes: &[u8]) {
        if self.is_on.get() {
            let mut pending = self.pending.borrow_mut();
            pending.extend_from_slice(bytes);
            if pending.len() >= HASH_BYTES {
                self.hash.borrow_mut().update(&*pending);
                pending.clear();
            }
        }
    }

    fn finish(&self) -> String {
        self.hash.borrow_mut().update(&*self.pending.borrow());
        body::hex(&self.hash.borrow().clone().finalize())
    }
}

/// A reader that shows its bytes to a tap. serde_json reads byte by byte, so that the tap opens and closes exactly.
struct Tapped<R> {
    inner: BufReader<R>,
    tap: Rc<Tap>,
}

impl<R: Read> Read for Tapped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.tap.take(&buffer[..read]);
        Ok(read)
    }
}

struct State<'q> {
    query: &'q EnvelopeQuery,
    tap: &'q Tap,
    found: Envelope,
}

#[derive(Clone, Copy)]
enum Target {
    Scalar(usize),
    Last,
    Greatest,
}

impl State<'_> {
    fn put(&mut self, target: Target, scalar: Scalar) {
        match target {
            Target::Scalar(index) => self.found.scalars[index] = Some(scalar),
            Target::Last => self.found.last = Some(scalar),
            Target::Greatest => {
                if scalar != Scalar::Null && self.found.greatest.as_ref().is_none_or(|known| scalar.is_after(known)) {
                    self.found.greatest = Some(scalar);
                }
            }
        }
    }
}

/// Places that are wanted, each with the rest of the way to it.
type Wanted<'q> = Vec<(Target, &'q [String])>;

/// One value of the document: what is wanted at it or below it, and whether records are at it or below it.
struct Walk<'s, 'q> {
    state: &'s mut State<'q>,
    wanted: Wanted<'q>,
    records: Option<&'q [String]>,
}

impl<'q> Walk<'_, 'q> {
    fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.records.is_none()
    }

    /// What is wanted below the member `name`, and the rest of the way to the records, if it leads there.
    fn below(&self, name: &str) -> (Wanted<'q>, Option<&'q [String]>) {
        let wanted = self
            .wanted
            .iter()
            .filter_map(|(target, way)| {
                way.split_first().filter(|(first, _)| *first == name).map(|(_, rest)| (*target, rest))
            })
            .collect();
        let records = self.records.and_then(|way| {
            way.split_first().filter(|(first, _)| *first == name || *first == "*").map(|(_, rest)| rest)
        });
        (wanted, records)
    }

    fn put_here(&mut self, scalar: &Scalar) {
        for index in 0..self.wanted.len() {
            let (target, way) = self.wanted[index];
            if way.is_empty() {
                self.state.put(target, scalar.clone());
            }
        }
    }

    fn scalar(mut self, scalar: &Scalar) {
        if self.records.is_some_and(<[String]>::is_empty) {
            // `null` stands for "no records" (World Bank), any other scalar is no record either.
            self.state.found.has_records |= *scalar == Scalar::Null;
        }
        self.put_here(scalar);
    }

    /// Starts a record, if this value is one that is not in an array of records.
    fn open_single_record(&mut self) -> bool {
        if self.records.is_none_or(|way| !way.is_empty()) {
            return false;
        }
        self.state.found.has_records = true;
        self.state.found.records += 1;
        self.state.tap.is_on.set(true);
        self.wanted.extend(record_targets(self.state.query));
        self.records = None;
        true
    }
}

fn record_targets(query: &EnvelopeQuery) -> impl Iterator<Item = (Target, &[String])> {
    let last = query.last.as_ref().map(|place| (Target::Last, place.segments()));
    let greatest = query.greatest.as_ref().map(|place| (Target::Greatest, place.segments()));
    last.into_iter().chain(greatest)
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_idle() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(&Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value.to_string()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value.to_string()));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(&Scalar::Text(value.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(&Scalar::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.put_here(&Scalar::Array);
        let is_records = self.records.is_some_and(<[String]>::is_empty);
        if is_records {
            self.state.found.has_records = true;
            self.state.tap.is_on.set(true);
        }
        for index in 0_u64.. {
            let (mut wanted, records) = self.below(&index.to_string());
            if is_records {
                wanted.extend(record_targets(self.state.query));
            }
            let walk = Walk { state: self.state, wanted, records };
            if items.next_element_seed(walk)?.is_none() {
                break;
            }
            if is_records {
                self.state.found.records += 1;
            }
        }
        if is_records {
            self.state.tap.is_on.set(false);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let Some(mut name) = members.next_key::<String>()? else {
            self.put_here(&Scalar::Object);
            let was_on = self.state.tap.is_on.get();
            self.open_single_record();
            self.state.tap.is_on.set(was_on);
            return Ok(());
        };
        if name == NUMBER_KEY {
            let digits: String = members.next_value()?;
            self.scalar(&Scalar::Number(digits));
            return Ok(());
        }
        self.put_here(&Scalar::Object);
        let was_on = self.state.tap.is_on.get();
        let is_record = self.open_single_record();
        loop {
            let (wanted, records) = self.below(&name);
            members.next_value_seed(Walk { state: self.state, wanted, records })?;
            match members.next_key()? {
                Some(next) => name = next,
                None => break,
            }
        }
        if is_record {
            self.state.tap.is_on.set(was_on);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(records: &str, scalars: &[&str], key: &str, body: &str) -> String {
        let pointer = |text: &str| text.parse::<Pointer>().unwrap();
        let query = EnvelopeQuery {
            records: pointer(records).segments().to_vec(),
            scalars: scalars.iter().map(|text| pointer(text)).collect(),
            last: Some(pointer(key)),
            greatest: Some(pointer(key)),
        };
        match read(&query, body.as_bytes()) {
            Ok(found) => {
                let scalars: Vec<String> = found
                    .scalars
                    .iter()
                    .map(|scalar| scalar.as_ref().map_or("-".to_owned(), |scalar| format!("{scalar:?}")))
                    .collect();
                let text = |scalar: Option<Scalar>| scalar.and_then(|scalar| scalar.as_text()).unwrap_or_default();
                let (last, greatest) = (text(found.last), text(found.greatest));
                format!("{} {} {last}/{greatest} {}", found.records, found.has_records, scalars.join(","))
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn envelopes_are_read_in_passing() {
        let check = |records, scalars: &[&str], body, expected: &str| {
            assert_eq!(look(records, scalars, "/id", body), expected, "{body}");
        };
        let world_bank = r#"[{"page":1,"pages":2,"per_page":"50","total":3},[{"id":7,"v":1.50},{"id":5}]]"#;
        check("/1", &["/0/total", "/0/per_page"], world_bank, r#"2 true 5/7 Number("3"),Text("50")"#);
        check("/1", &["/0/total"], r#"[{"total":0},null]"#, r#"0 true / Number("0")"#);
        check("/1", &["/0/message/0/value"], r#"[{"message":[{"value":"bad"}]}]"#, r#"0 false / Text("bad")"#);
        check("", &["/next"], r#"[{"id":1},{"id":2}]"#, "2 true 2/2 -");
        check("", &["/a"], r#"{"id":1,"a":{"b":1}}"#, "1 true 1/1 Object");
        check(
            "/series/*/obs",
            &["/n"],
            r#"{"series":[{"obs":[{"id":1}]},{"obs":[{"id":3},{"id":2}]}],"n":12345678901234567890123}"#,
            r#"3 true 2/3 Number("12345678901234567890123")"#,
        );
        check("/data/*", &[], r#"{"data":{"x":{"id":"a"},"y":{"id":"b"}}}"#, "2 true b/b ");
        check("/rows", &["/rows"], r#"{"rows":5}"#, r#"0 false / Number("5")"#);
        check("", &[], "42", "0 false / ");
        check("", &[], "[1,2", "error: EOF while parsing a list at line 1 column 4");
        check("", &[], "[] x", "error: trailing characters at line 1 column 4");
    }

    #[test]
    fn the_hash_covers_the_records_only() {
        let query = EnvelopeQuery { records: vec!["r".to_owned()], ..EnvelopeQuery::default() };
        let hash = |body: &str| read(&query, body.as_bytes()).unwrap().records_sha256;
        let base = hash(r#"{"at":1,"r":[{"a":1}],"z":2}"#);
        assert_eq!(base, hash(r#"{"at":222,"r":[{"a":1}],"z":"other"}"#));
        assert_ne!(base, hash(r#"{"at":1,"r":[{"a":2}],"z":2}"#));
    }

    #[test]
    fn deep_documents_cost_no_stack() {
        let query = EnvelopeQuery { records: vec!["*".to_owned(); 3], ..EnvelopeQuery::default() };
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&query, deep.as_bytes()).unwrap().records, 1);
        assert!(read(&query, &deep.as_bytes()[..150_000]).is_err());
        let way = EnvelopeQuery { records: vec!["*".to_owned(); 1_000], ..EnvelopeQuery::default() };
        assert!(read(&way, deep.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
    }
}
