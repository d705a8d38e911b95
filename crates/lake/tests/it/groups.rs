//! Refreshes of tables with many files and row groups: they agree with the model whatever changes, files and row groups
//! in which nothing changed stay as they are, and other columns of a changed row group are copied.

use std::collections::{BTreeMap, BTreeSet};

use hambar_core::conformance::{Row, load, show, spec};
use hambar_core::{CommitOutcome, TableSpec, WriteMode};
use hambar_lake::{Lake, SortedLimits};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::histories::{check, check_fingerprint};
use crate::support::{Reader, TestLake, data_files};

const LIMITS: SortedLimits = SortedLimits { file_bytes: 1 << 20, file_rows: 100, group_rows: 25, small_bytes: 0 };
const GEOS: [&str; 4] = ["AL", "BG", "GR", "MK"];

type Rows = BTreeMap<(usize, i64), Option<i64>>;

fn base() -> Rows {
    (0..4).flat_map(|geo| (0..125).map(move |year| ((geo, year * 2), Some(year)))).collect()
}

fn list(rows: &Rows) -> Vec<Row> {
    rows.iter().map(|((geo, year), value)| (GEOS[*geo], *year, *value)).collect()
}

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Releases after the base: few values, many values, rows between, rows gone, a tail, and all of that.
fn releases(random: &mut Random) -> Vec<(Rows, Rows)> {
    let mut all = base();
    let mut releases = vec![(all.clone(), all.clone())];
    for kind in 0..8 {
        let mut sent = Rows::new();
        let few = if kind % 3 == 1 { 60 } else { 3 };
        for _ in 0..few {
            let key = (usize::try_from(random.below(4)).unwrap(), random.below(125) * 2);
            sent.insert(key, Some(random.below(1_000_000)));
        }
        if kind >= 3 {
            for _ in 0..3 {
                sent.insert((usize::try_from(random.below(4)).unwrap(), random.below(125) * 2 + 1), Some(kind));
            }
        }
        if kind >= 5 {
            sent.extend((0..30).map(|year| ((3, 1_000 + kind * 200 + year), None)));
        }
        all.extend(sent.clone());
        if kind >= 6 {
            let gone = random.below(220);
            all.retain(|(geo, year), _| *geo != 1 || *year < gone || *year > gone + 20);
        }
        releases.push((sent, all.clone()));
    }
    releases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_of_many_row_groups_agree_with_the_model() {
    for (seed, partitions) in [(1, &[][..]), (2, &["geo"][..])] {
        let releases = releases(&mut Random(seed));
        let sent: Vec<Vec<Row>> = releases.iter().map(|(sent, _)| list(sent)).collect();
        check(&spec("u", WriteMode::Upsert, &["geo", "year"], partitions), Some(LIMITS), &sent).await;
        let full: Vec<Vec<Row>> = releases.iter().map(|(_, all)| list(all)).collect();
        check(&spec("s", WriteMode::Snapshot, &["geo", "year"], partitions), Some(LIMITS), &full).await;
        check(&spec("k", WriteMode::Snapshot, &[], partitions), Some(LIMITS), &full).await;
    }
}

async fn lake_with(spec: &TableSpec) -> (TestLake, Lake) {
    let test = TestLake::in_folder().await;
    let lake = test.lake.with_sorted_limits(LIMITS);
    let outcome = load(&lake, spec, "r1", "a", &list(&base())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { rows: 500, .. }), "{outcome:?}");
    (test, lake)
}

async fn current_files(lake: &Lake, spec: &TableSpec) -> BTreeSet<String> {
    let snapshot = lake.snapshot(&spec.name, None).await.unwrap();
    snapshot.files.iter().map(|file| file.path.filename().unwrap().to_owned()).collect()
}

fn footer(lake: &Lake, spec: &TableSpec, name: &str) -> ParquetMetaData {
    let files = data_files(lake, &spec.name);
    let path = files.iter().find(|path| path.ends_with(name)).unwrap();
    ParquetMetaDataReader::new().parse_and_finish(&std::fs::File::open(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_one_place_rewrites_one_file_and_one_column_of_one_row_group() {
    for write in [WriteMode::Upsert, WriteMode::Snapshot] {
        let spec = spec("t", write, &["geo", "year"], &[]);
        let (_test, lake) = lake_with(&spec).await;
        let before = current_files(&lake, &spec).await;
        assert_eq!(before.len(), 5, "500 rows in files of 100");
        let mut sent = if write == WriteMode::Upsert { Rows::new() } else { base() };
        sent.insert((1, 110), Some(77));
        let outcome = load(&lake, &spec, "r2", "b", &list(&sent)).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { rows: 1, revised: 1, withdrawn: 0, .. }), "{outcome:?}");
        let after = current_files(&lake, &spec).await;
        let (old, new): (Vec<_>, Vec<_>) = (before.difference(&after).collect(), after.difference(&before).collect());
        assert_eq!((old.len(), new.len()), (1, 1), "{write:?}");
        let (old, new) = (footer(&lake, &spec, old[0]), footer(&lake, &spec, new[0]));
        assert_eq!((old.num_row_groups(), new.num_row_groups()), (4, 4));
        for (group, (old, new)) in old.row_groups().iter().zip(new.row_groups()).enumerate() {
            for (old, new) in old.columns().iter().zip(new.columns()) {
                let name = old.column_path().string();
                let is_changed = group == 3 && ["value", "_recorded_at", "_source"].contains(&name.as_str());
                assert_eq!(old.statistics() != new.statistics(), is_changed, "{name} in row group {group}");
            }
        }
        check_fingerprint(&lake, &spec).await;
        let fsck = lake.check(&spec.name).await.unwrap();
        assert!(fsck.problems.is_empty(), "{fsck:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_later_year_join_the_last_file() {
    let spec = spec("t", WriteMode::Upsert, &["geo", "year"], &[]);
    let (_test, lake) = lake_with(&spec).await;
    let lake = lake.with_sorted_limits(SortedLimits { small_bytes: u64::MAX, ..LIMITS });
    for (run, year) in [("r2", 2_000), ("r3", 2_100), ("r4", 2_200)] {
        let rows: Vec<Row> = (0..30).map(|more| ("MK", year + more, None)).collect();
        let _ = load(&lake, &spec, run, run, &rows).await.unwrap();
    }
    assert_eq!(current_files(&lake, &spec).await.len(), 6, "the last file was full");
    let shown = show(&Reader(&lake), &spec.name, &["geo", "year"]).await;
    assert_eq!(shown.len(), 590);
    let snapshot = lake.snapshot(&spec.name, None).await.unwrap();
    let smallest = snapshot.files.iter().min_by_key(|file| file.rows).unwrap();
    assert_eq!(smallest.rows, 90);
    assert_eq!(footer(&lake, &spec, smallest.path.filename().unwrap()).num_row_groups(), 4);
}
