//! The check of a table finds what is wrong, and nothing in a sound one.

use std::path::{Path, PathBuf};

use hambar_core::conformance::{Row, load, spec};
use hambar_core::{TableSpec, WriteMode};
use hambar_lake::Lake;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::support::{data_files, open_folder};

/// Flips per kind of file.
const FLIPS: usize = 100;

async fn filled(folder: &Path) -> (Lake, TableSpec) {
    let lake = open_folder(folder.to_str().unwrap()).await;
    let spec = spec("t", WriteMode::Upsert, &["geo", "year"], &[]);
    for run in 0..22 {
        let rows: [Row; 2] = [("BG", run, Some(run)), ("RO", run / 2, Some(run))];
        let _ = load(&lake, &spec, &format!("r{run}"), &format!("{run}"), &rows).await.unwrap();
    }
    assert!(lake.write_checkpoint(&spec.name).await.unwrap().is_some());
    let _ = load(&lake, &spec, "last", "last", &[("BG", 99, None)]).await.unwrap();
    (lake, spec)
}

/// The problems that a process which opens the store anew finds.
async fn problems(folder: &Path, spec: &TableSpec) -> Vec<String> {
    open_folder(folder.to_str().unwrap()).await.check(&spec.name).await.unwrap().problems
}

fn log_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("tables/suite/t/_delta_log").join(name)
}

#[tokio::test]
async fn every_kind_of_damage_is_found() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let (lake, spec) = filled(root).await;
    let report = lake.check(&spec.name).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.version, report.log_files, report.rows), (23, 24, 34));

    let newest = log_file(root, "00000000000000000023.json");
    let middle = log_file(root, "00000000000000000007.json");
    let checkpoint = log_file(root, "00000000000000000022.checkpoint.parquet");
    let live = root.join(format!("tables/suite/t/{}", live_file(&lake, &spec).await));
    for (path, damaged, expected) in [
        (&newest, Some(Vec::new()), "is empty"),
        (&newest, Some(b"{\"add\":".to_vec()), "line 1"),
        (&middle, None, "00000000000000000007.json` is missing"),
        (&checkpoint, Some(b"PAR1garbagePAR1".to_vec()), "checkpoint of version 22"),
        (&live, None, "data file"),
        (&live, Some(Vec::new()), "data file"),
    ] {
        let sound = std::fs::read(path).unwrap();
        match damaged {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let found = problems(root, &spec).await;
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
        std::fs::write(path, sound).unwrap();
        assert_eq!(problems(root, &spec).await, Vec::<String>::new(), "{expected}: healed");
    }
}

async fn live_file(lake: &Lake, spec: &TableSpec) -> String {
    lake.log_state(&spec.name, None).await.unwrap().files.keys().next().unwrap().clone()
}

#[tokio::test]
async fn a_wrong_row_count_and_a_wrong_checkpoint_are_found() {
    let folder = TempDir::new().unwrap();
    let (_, spec) = filled(folder.path()).await;
    let newest = log_file(folder.path(), "00000000000000000023.json");
    let text = std::fs::read_to_string(&newest).unwrap();
    std::fs::write(&newest, text.replace("numRecords\\\":34", "numRecords\\\":35")).unwrap();
    let found = problems(folder.path(), &spec).await;
    assert!(found.iter().any(|problem| problem.contains("has 34 rows, the log says 35")), "{found:?}");
    std::fs::write(&newest, &text).unwrap();

    // A checkpoint that can be read and tells something else than the commits.
    let old = log_file(folder.path(), "00000000000000000005.json");
    let commit = std::fs::read_to_string(&old).unwrap();
    std::fs::write(&old, commit.replace("\"hambar\",\"version\":5", "\"hambar\",\"version\":500")).unwrap();
    let later = log_file(folder.path(), "00000000000000000022.json");
    let commit = std::fs::read_to_string(&later).unwrap();
    assert!(commit.contains("\"hambar.run\":\"r21\""));
    std::fs::write(&later, commit.replace("\"hambar.run\":\"r21\"", "\"hambar.run\":\"other\"")).unwrap();
    let found = problems(folder.path(), &spec).await;
    assert!(found.iter().any(|problem| problem.contains("differs from what the commits say")), "{found:?}");
}

#[tokio::test]
async fn every_flipped_byte_of_data_is_found() {
    let folder = TempDir::new().unwrap();
    let (lake, spec) = filled(folder.path()).await;
    let mut random = StdRng::seed_from_u64(7);
    let live = folder.path().join(format!("tables/suite/t/{}", live_file(&lake, &spec).await));
    assert!(data_files(&lake, &spec.name).contains(&live));
    let sound = std::fs::read(&live).unwrap();
    for _ in 0..FLIPS {
        let mut bytes = sound.clone();
        let place = random.random_range(0..bytes.len());
        bytes[place] ^= 1 << random.random_range(0..8);
        std::fs::write(&live, bytes).unwrap();
        let found = lake.check(&spec.name).await.unwrap().problems;
        assert!(found.iter().any(|problem| problem.contains("data file")), "byte {place}: {found:?}");
    }
    std::fs::write(&live, sound).unwrap();
    assert_eq!(problems(folder.path(), &spec).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_body_of_the_landing_zone_is_found() {
    let folder = TempDir::new().unwrap();
    let lake = open_folder(folder.path().to_str().unwrap()).await;
    let bodies = folder.path().join("raw/sha256/e3");
    std::fs::create_dir_all(&bodies).unwrap();
    let name = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    std::fs::write(bodies.join(name), b"").unwrap();
    std::fs::write(bodies.join("note.txt"), b"not a body").unwrap();
    let report = lake.check_raw().await.unwrap();
    assert_eq!((report.bodies, report.problems.len()), (1, 0), "{report:?}");
    std::fs::write(bodies.join(name), b"x").unwrap();
    let report = lake.check_raw().await.unwrap();
    assert!(report.problems.len() == 1 && report.problems[0].contains(name), "{report:?}");
}
