//! URLs of PostgreSQL, with an environment that says the rest.

use arbitrary::{Arbitrary, Unstructured};
use zjobs_engine::Error;
use zjobs_engine::store::postgres::fuzzing;

use crate::words::assert_shown;

/// What must not be repeated anywhere.
const SECRET: &str = "s3cr3t-Pa55";

/// Variables that are read, but for those that name files.
const VARIABLES: [&str; 8] =
    ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSSLMODE", "PGAPPNAME", "LOGNAME"];

/// Options whose values name files: whichever those are is no business of a fuzzer.
const FILES: [&str; 5] = ["sslrootcert", "sslcert", "sslkey", "passfile", "sslcrl"];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    shape: u8,
    before: &'a str,
    after: &'a str,
    variables: Vec<(u8, &'a str)>,
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let Input { before, after, .. } = input;
    if FILES.iter().any(|option| after.contains(option) || before.contains(option)) {
        return;
    }
    let texts = input.variables.iter().map(|(_, value)| value.replace('\0', ""));
    if texts.chain([format!("{before}{after}")]).any(|text| text.contains(SECRET)) {
        return; // only what is put where a password stands is one
    }
    if before.contains('?') && before.contains('=') {
        return; // what follows it is an option, such as the user, and no password
    }
    let url = match input.shape % 5 {
        0 => format!("{before}{after}"),
        1 => format!("postgresql://{after}"),
        2 => format!("postgresql://u:{SECRET}@{after}"),
        // A password that is not coded as it should be.
        3 => format!("postgresql://u:{before}{SECRET}@{after}"),
        _ => format!("postgresql://u@h/d?{before}&password={SECRET}&{after}"),
    };
    let environment = |name: &str| {
        let place = VARIABLES.iter().position(|known| *known == name)?;
        let given = input.variables.iter().find(|(number, _)| usize::from(*number) % VARIABLES.len() == place);
        let value = given?.1.replace('\0', "");
        Some(if name == "PGPASSWORD" { SECRET.to_owned() } else { value })
    };
    match fuzzing::address(&url, &environment) {
        Ok((shown, debugged)) => {
            assert!(!shown.contains(SECRET) && !debugged.contains(SECRET), "{shown} tells the password");
            assert!(shown.starts_with("PostgreSQL at "), "{shown}");
        }
        Err(error) => {
            assert!(matches!(error, Error::Invalid { .. } | Error::StoreUnavailable(_)), "{error}");
            assert!(!error.to_string().contains(SECRET), "{error}");
            assert_shown(&error.to_string());
        }
    }
}
