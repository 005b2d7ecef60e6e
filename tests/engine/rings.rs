//! Each ring of the engine imports only inward: the import lines say so.

use std::fs;
use std::path::{Path, PathBuf};

/// Rings from the inside out. Modules of one ring may know each other.
const RINGS: [&[&str]; 5] = [
    &["error", "clock", "sync", "sigmask", "failpoint"],
    &["state", "job", "outcome", "backoff", "unique", "telemetry", "limits"],
    &["queue"],
    &["store"],
    &["runtime"],
];

/// The one import that leads outward: an error names the state and event of a refused move.
const EXCEPTION: (&str, &str) = ("error", "state");

fn ring(module: &str) -> Option<usize> {
    RINGS.iter().position(|modules| modules.contains(&module))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rust/src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    nested.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The modules that the code names by `crate::`, tests and comments aside.
fn known_to(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = lines.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>());
    named.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

/// What is wrong with these imports of a file of `module`.
fn outward(module: &str, known: &[String]) -> Vec<String> {
    let home = ring(module);
    let fine = |other: &String| (module, other.as_str()) == EXCEPTION || ring(other).is_some_and(|r| Some(r) <= home);
    known.iter().filter(|other| !fine(other)).cloned().collect()
}

#[test]
fn every_module_belongs_to_a_ring() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 10, "{modules:?}");
    for module in modules {
        assert!(ring(module).is_some(), "{module} is in no ring: add it to architecture and to this test");
    }
}

#[test]
fn every_file_imports_only_inward() {
    let mut seen = 0;
    for path in files(&source()) {
        let inside = path.strip_prefix(source()).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let known = known_to(&fs::read_to_string(&path).unwrap());
        seen += known.len();
        assert_eq!(outward(module, &known), Vec::<String>::new(), "{} looks outward", inside.display());
    }
    assert!(seen > 50, "{seen} imports seen");
}

#[test]
fn an_import_that_leads_outward_is_found() {
    let known = known_to("use crate::job::Job;\nuse crate::store::{Claim, Store};\n// crate::runtime\n");
    assert_eq!(known, ["job", "store"]);
    assert_eq!(outward("queue", &known), ["store"]);
    assert!(outward("runtime", &known).is_empty());
    assert!(outward("error", &["state".into()]).is_empty());
    assert_eq!(outward("clock", &["state".into()]), ["state"]);
    assert_eq!(outward("runtime", &["Job".into()]), ["Job"], "by its module, not by a re-export");
}
