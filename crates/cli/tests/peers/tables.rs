//! pandas and DuckDB read the tables of `engraft predict`, whatever photos are called.

use std::process::Stdio;

use crate::python::Peers;
use crate::support::Place;

/// Names that a spreadsheet, a shell or a parser of CSV could take for something else. A file called `NA` and no more isn't among
/// them: pandas takes these letters for an empty cell, even in quotes.
const NAMES: &[&str] = &[
    "=1+1.bmp",
    "#1.bmp",
    "'a'.bmp",
    "007.bmp",
    "NA.bmp",
    " a ",
    "a, b.bmp",
    "a;b|c.bmp",
    "say \"no\".bmp",
    "Zürich, 猫 🐈.bmp",
    #[cfg(unix)]
    "two\nlines, \"quoted\".bmp",
    #[cfg(unix)]
    "tab\tand\\.bmp",
];

/// Rows from which DuckDB guesses how a CSV file is written. None of these has a quote.
const SAMPLE: usize = 20_480;

#[test]
fn awkward_names_reach_pandas_and_duckdb_intact() {
    let Some(peers) = Peers::find() else { return };
    let place = Place::with_photos(1);
    place.add_classifier("m.keras");
    let photo = place.read("photos/red/00.bmp");
    NAMES.iter().for_each(|name| place.write(&format!("odd/{name}"), &photo));
    place.write("odd/bad, \"unreadable\".bmp", b"no photo");
    place.write("list.txt", "../photos/blue/00.bmp\n".repeat(SAMPLE).as_bytes());
    let predict = |output: &str| {
        let run = place.run_with(&format!("predict ../m.keras - * {output}"), |command| {
            let list = std::fs::File::open(place.path("list.txt")).unwrap();
            command.current_dir(place.path("odd")).stdin(Stdio::from(list))
        });
        run.fails(1, &["1 of 20493 images could not be read"]);
    };
    predict("--csv -o ../out.csv");
    predict("--parquet ../out.parquet");
    predict("--json -o ../out.jsonl");
    peers.agree(
        "tables_read.py",
        &["out.csv", "out.parquet", "out.jsonl"].map(|name| place.path(name)).each_ref().map(|path| path.as_path()),
    );
}
