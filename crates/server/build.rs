//! Builds the scripts and styles of the web page (`page/`) with npm, and writes a Rust file that embeds them.
//!
//! Everything happens in Cargo's own output folder; the checkout is only read. `HAMBAR_PAGE=none` leaves them out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

/// The oldest Node.js that the build is tried with.
const NODE_MAJOR_MIN: u32 = 20;
/// The files and folders of `page/` that the build reads. The browser tests are not among them.
const SOURCES: [&str; 7] =
    ["package.json", "package-lock.json", ".npmrc", "build.mjs", "tsconfig.json", "src", "style"];
/// Says where the way out is written down.
const WAY_OUT: &str =
    "install Node.js 20 or newer with npm, or set HAMBAR_PAGE=none for pages without scripts and styles";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error=the web page was not built: {}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=HAMBAR_PAGE");
    println!("cargo::rerun-if-changed=build.rs");
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let out = folder("OUT_DIR")?;
    let generated = out.join("assets.rs");
    match env::var_os("HAMBAR_PAGE").as_deref().and_then(|value| value.to_str()) {
        Some("none") => return write(&generated, &generate(&out, "", "")?),
        None | Some("") => {}
        Some(other) => return Err(format!("HAMBAR_PAGE is `{other}`; it may be `none` or not set")),
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed=page/{source}");
    }
    require_node()?;
    let work = out.join("page");
    copy_sources(&manifest.join("page"), &work)?;
    install(&work)?;
    let is_debug = env::var_os("PROFILE").is_some_and(|profile| profile == "debug");
    let arguments: &[&str] = if is_debug { &["build.mjs", "dist", "--quick"] } else { &["build.mjs", "dist"] };
    run(&work, "node", arguments)?;
    let dist = work.join("dist");
    let text = generate(&dist, &read(&dist.join("assets.tsv"))?, &read(&dist.join("notices.tsv"))?)?;
    write(&generated, &text)
}

fn folder(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("Cargo did not set {name}"))
}

fn require_node() -> Result<(), String> {
    for tool in ["node", "npm"] {
        let output = Command::new(tool).arg("--version").output();
        let output = output.map_err(|error| format!("`{tool}` cannot be started ({error}): {WAY_OUT}"))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let major = version.trim_start_matches('v').split('.').next().and_then(|digits| digits.parse::<u32>().ok());
        if tool == "node" && major.is_none_or(|major| major < NODE_MAJOR_MIN) {
            return Err(format!("this is Node.js `{version}`: {WAY_OUT}"));
        }
    }
    Ok(())
}

/// Copies what the build reads, and forgets what was there before.
fn copy_sources(from: &Path, to: &Path) -> Result<(), String> {
    for source in SOURCES {
        let old = to.join(source);
        if old.is_dir() {
            fs::remove_dir_all(&old).map_err(|error| failed("remove", &old, &error))?;
        }
        copy(&from.join(source), &old)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
        }
        return fs::copy(from, to).map(|_| ()).map_err(|error| failed("copy", from, &error));
    }
    for entry in fs::read_dir(from).map_err(|error| failed("list", from, &error))? {
        let entry = entry.map_err(|error| failed("list", from, &error))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Installs the libraries that the lock file names, unless they are there already.
fn install(work: &Path) -> Result<(), String> {
    let stamp = work.join("node_modules/.hambar-lock");
    let lock = read(&work.join("package-lock.json"))?;
    if fs::read_to_string(&stamp).is_ok_and(|known| known == lock) {
        return Ok(());
    }
    run(work, "npm", &["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"])?;
    write(&stamp, &lock)
}

fn run(work: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).current_dir(work).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{command}` cannot be started ({error}): {WAY_OUT}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).join(" ");
    let last: String = said.chars().rev().take(2_000).collect::<Vec<char>>().into_iter().rev().collect();
    Err(format!("`{command}` failed: {last} ({WAY_OUT})"))
}

/// Makes the Rust file: a line of `assets` is logical name, path, media type; one of `notices` is name, version,
/// licence, file of its text.
fn generate(dist: &Path, assets: &str, notices: &str) -> Result<String, String> {
    let mut rust = String::from("pub(crate) static ASSETS: &[Asset] = &[\n");
    let mut manifest = String::from("pub(crate) static MANIFEST: &[(&str, &str)] = &[\n");
    for line in assets.lines() {
        let [logical, path, media_type] = fields(line)?;
        let packed = dist.join(format!("{path}.br"));
        let br = if packed.exists() { format!("Some(include_bytes!({packed:?}))") } else { "None".to_owned() };
        let bytes = dist.join(path);
        let asset = format!("path: {path:?}, media_type: {media_type:?}, bytes: include_bytes!({bytes:?}), br: {br}");
        writeln!(rust, "    Asset {{ {asset} }},").map_err(|error| error.to_string())?;
        if !logical.is_empty() {
            writeln!(manifest, "    ({logical:?}, {path:?}),").map_err(|error| error.to_string())?;
        }
    }
    let mut thanks = String::from("pub(crate) static NOTICES: &[Notice] = &[\n");
    for line in notices.lines() {
        let [name, version, licence, text] = fields(line)?;
        let text = dist.join(text);
        let notice =
            format!("name: {name:?}, version: {version:?}, licence: {licence:?}, text: include_str!({text:?})");
        writeln!(thanks, "    Notice {{ {notice} }},").map_err(|error| error.to_string())?;
    }
    Ok(format!("{rust}];\n{manifest}];\n{thanks}];\n"))
}

fn fields<const COUNT: usize>(line: &str) -> Result<[&str; COUNT], String> {
    let fields: Vec<&str> = line.split('\t').collect();
    fields.try_into().map_err(|_| format!("the build wrote a line without {COUNT} fields: `{line}`"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| failed("read", path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| failed("write", path, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} `{}`: {error}", path.display())
}
