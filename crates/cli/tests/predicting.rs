//! `engraft predict` on folders, patterns and lists, its forms of output, and going on after a stop.

mod support;

use std::process::Stdio;

use engraft::prelude::*;
use engraft::{Compiled, UnknownParts};
use serde_json::Value;
use support::{Place, save, small_model};

/// The columns of a model with three classes.
const HEADER: &str = "image,class,probability,unknown,error,0,1,2";

/// Photos of three classes and a model of random weights.
#[allow(clippy::unwrap_used, reason = "only tests use it")]
fn place(each: usize) -> Place {
    let place = Place::with_photos(each);
    save(&small_model(3), &place.path("m.keras"));
    place
}

#[test]
fn every_photo_of_a_folder_is_answered_as_it_is_alone() {
    // More than a batch.
    let place = place(7);
    let all = place.run("predict m.keras photos -r --json").succeeds();
    let lines: Vec<Value> = all.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 21);
    for line in &lines {
        let image = line["image"].as_str().unwrap();
        assert_eq!(*line, place.run(&format!("predict m.keras {image} --json")).succeeds().json(), "{image}");
    }
    assert_eq!(place.run("predict m.keras photos/red --json").succeeds().out.lines().count(), 7);
    assert_eq!(place.run("predict m.keras photos/*/00.bmp --json").succeeds().out.lines().count(), 3);
    assert_eq!(place.run("predict m.keras photos -r --json --jobs 1 --threads 2").succeeds().out, all.out);
    let error = place.run("predict m.keras photos").fails(1, &["add --recursive to look into its folders"]);
    assert_eq!(error.out, "");
}

#[test]
fn standard_input_is_a_list_or_a_photo() {
    let place = place(2);
    std::fs::write(place.path("list.txt"), "photos/red/00.bmp\nphotos/blue\n").unwrap();
    let input = |file: &str| Stdio::from(std::fs::File::open(place.path(file)).unwrap());
    let list = place.run_with("predict m.keras - --json", |command| command.stdin(input("list.txt"))).succeeds();
    assert_eq!(list.out.lines().count(), 3, "{list}");
    let photo = place.run_with("predict m.keras - --json", |command| command.stdin(input("photos/red/01.bmp")));
    let (photo, file) =
        (photo.succeeds().json(), place.run("predict m.keras photos/red/01.bmp --json").succeeds().json());
    assert_eq!((&photo["image"], &photo["probabilities"]), (&"-".into(), &file["probabilities"]));
}

#[test]
fn a_photo_that_cannot_be_read_is_a_row_with_its_error() {
    let place = place(1);
    place.write("photos/red/bad.jpg", b"no photo");
    let run = place.run("predict m.keras photos/red --csv").ends_with(1);
    let rows: Vec<&str> = run.out.lines().collect();
    assert_eq!(rows[0], HEADER);
    assert!(rows[1].starts_with("\"photos/red/00.bmp\",") && rows[1].contains(",false,,"), "{run}");
    assert!(rows[2].starts_with("\"photos/red/bad.jpg\",,,,\"photos/red/bad.jpg: "), "{run}");
    assert!(
        run.err.contains("error: photos/red/bad.jpg") && run.err.contains("1 of 2 images could not be read"),
        "{run}"
    );
    let json = place.run("predict m.keras photos/red --json").ends_with(1);
    let bad: Value = serde_json::from_str(json.out.lines().nth(1).unwrap()).unwrap();
    assert!(bad["image"] == "photos/red/bad.jpg" && bad["error"].is_string() && bad["class"].is_null(), "{json}");
}

/// A program that reads the answers can open the photos that they name.
#[cfg(unix)]
#[test]
fn names_of_photos_are_data_where_no_person_reads_them() {
    let place = place(1);
    place.write("photos/red/a\tb\u{85}.bmp", &place.read("photos/red/00.bmp"));
    let csv = place.run("predict m.keras photos/red --csv").succeeds();
    assert!(csv.out.contains("\n\"photos/red/a\tb\u{85}.bmp\","), "{csv}");
    let json = place.run("predict m.keras photos/red --json").succeeds();
    let image = |line: &str| serde_json::from_str::<Value>(line).unwrap()["image"].clone();
    assert_eq!(image(json.out.lines().nth(1).unwrap()), "photos/red/a\tb\u{85}.bmp");
    let text = place.run("predict m.keras photos/red").succeeds();
    assert!(text.out.contains("\nphotos/red/a\u{fffd}b\u{fffd}.bmp\n"), "{text}");
}

#[test]
fn a_stopped_run_goes_on_where_it_stopped() {
    let place = place(6);
    for form in ["csv", "json"] {
        let command = format!("predict m.keras photos -r --{form} -o out.{form}");
        let run = place.run(&command).succeeds();
        assert!(run.out.starts_with(&format!("out.{form}: 18 photos (")), "{run}");
        let whole = place.read(&format!("out.{form}"));
        // The program was killed in the middle of a row.
        place.write(&format!("out.{form}"), &whole[..whole.len() / 2]);
        let run = place.run(&format!("{command} --skip-done out.{form}")).succeeds();
        assert!(run.err.contains("of 18 photos done already"), "{run}");
        assert!(place.read(&format!("out.{form}")) == whole, "{form}");
        // Everything is done. Another output gets nothing but the header.
        place.run(&format!("predict m.keras photos -r --{form} -o more.{form} --skip-done out.{form}")).succeeds();
        assert_eq!(place.read(&format!("more.{form}")).len(), if form == "csv" { HEADER.len() + 1 } else { 0 });
    }
    place.write("out", &place.read("out.csv"));
    let run = place.run("predict m.keras photos -r --json -o out --skip-done out --force");
    run.fails(
        1,
        &["--skip-done: expected a file with the columns JSON lines", "the options and the model of the first run"],
    );
}

#[test]
fn a_parquet_file_is_whole_or_not_there() {
    let place = place(2);
    place.write("photos/red/bad.jpg", b"no photo");
    let run = place.run("predict m.keras photos -r --parquet out.parquet").ends_with(1);
    assert!(run.out.starts_with("out.parquet: 7 photos (") && run.out.contains("unreadable 1"), "{run}");
    let file = place.read("out.parquet");
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    // Its own file may be replaced, a file of others not.
    place.run("predict m.keras photos/blue --parquet out.parquet").succeeds();
    place.write("mine.parquet", b"PAR1 of others PAR1");
    place.run("predict m.keras photos/blue --parquet mine.parquet").fails(1, &["mine.parquet, another file"]);
    place.run("predict m.keras photos/blue --parquet out.csv").fails(2, &["hint: use --parquet out-2.parquet"]);
    place
        .run("predict m.keras photos/blue -o a.parquet")
        .fails(2, &["hint: use --parquet a.parquet, or --output a.txt"]);
    place.run("predict m.keras photos/blue -o a.csv").fails(2, &["hint: use --csv, or --output a.txt"]);
    place.run("predict m.keras photos/blue --parquet a.parquet --csv").fails(2, &["cannot be used with"]);
    let skip = "predict m.keras photos/blue --parquet out.parquet --skip-done out.parquet";
    place.run(skip).fails(1, &["--skip-done: expected an output of --csv or --json", "hint: write with --csv"]);
    assert!(place.read("out.parquet").len() < file.len() && !place.path("a.parquet").exists());
    let left = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".tmp");
    assert!(!std::fs::read_dir(place.path("")).unwrap().any(|entry| left(entry.unwrap())));
}

#[test]
fn wrong_answers_are_listed_with_the_most_confident_first() {
    let place = place(5);
    let found = place.run("evaluate m.keras photos --mistakes wrong.csv --json").succeeds().json();
    let csv = String::from_utf8(place.read("wrong.csv")).unwrap();
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("image,class,answer,probability,probability_of_class"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
    let right: u64 = (0..3).map(|class| found["confusion"][class][class].as_u64().unwrap()).sum();
    assert_eq!((found["images"].as_u64(), rows.len() as u64), (Some(15), 15 - right));
    let probability = |row: &Vec<&str>| row[3].parse::<f32>().unwrap();
    assert!(!rows.is_empty() && rows.is_sorted_by(|one, next| probability(one) >= probability(next)), "{csv}");
    for row in rows {
        let image = row[0].trim_matches('"');
        let alone = place.run(&format!("predict m.keras {image} --json")).succeeds().json();
        assert!(image.starts_with("photos/") && row[1] != row[2], "{row:?}");
        assert_eq!(alone["probability"].as_f64().unwrap() as f32, row[3].parse::<f32>().unwrap(), "{row:?}");
    }
    place.run("evaluate m.keras photos --mistakes photos/red/00.bmp").ends_with(2);
}

/// Outputs as Keras would give them, of a model compiled with a loss on logits, of one without a loss, of a regression, and of none
/// that tells classes apart.
#[test]
fn outputs_that_are_no_probabilities_are_told() {
    let place = Place::with_photos(1);
    let model = |top: &dyn Fn(Sequential) -> Sequential| {
        let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
        top(layers).build().unwrap()
    };
    let photo = "photos/red/00.bmp";
    let logits = model(&|layers| layers.add(Dense::new(3)));
    save(&logits, &place.path("logits.keras"));
    let run = place.run(&format!("predict logits.keras {photo} --json")).succeeds();
    assert!(
        run.err.contains("logits.keras: the outputs are logits; a softmax makes probabilities of them (--raw"),
        "{run}"
    );
    let values = |json: Value| -> Vec<f64> {
        json["probabilities"].as_object().unwrap().values().map(|value| value.as_f64().unwrap()).collect()
    };
    let probabilities = values(run.json());
    let raw = place.run(&format!("predict logits.keras {photo} --json --raw")).succeeds();
    assert_eq!((&raw.json()["outputs"], raw.err.as_str()), (&"logits".into(), ""));
    let exponentials: Vec<f64> = values(raw.json()).into_iter().map(f64::exp).collect();
    for (probability, exponential) in probabilities.iter().zip(&exponentials) {
        // The rounding of f32.
        assert!((probability - exponential / exponentials.iter().sum::<f64>()).abs() < 1e-6, "{run} {raw}");
    }
    let exported = place.run("export logits.keras --to onnx").succeeds();
    assert!(exported.err.contains("the file's outputs are logits, as the model's: a softmax makes probabilities"));

    let features = model(&|layers| layers);
    save(&features, &place.path("features.keras"));
    place
        .run(&format!("predict features.keras {photo}"))
        .fails(1, &["probabilities or logits of classes", "engraft features"]);

    let regression = model(&|layers| layers.add(Dense::new(1)));
    regression.compile(Sgd::new(0.1), Loss::binary_crossentropy(), []).unwrap();
    let unknown = UnknownParts { loss: Some("mean_squared_error".into()), ..UnknownParts::default() };
    let compiled = regression.compiled().map(|compiled| Compiled { loss: None, unknown: unknown.into(), ..compiled });
    regression.set_compiled(compiled);
    save(&regression, &place.path("regression.keras"));
    let run = place.run(&format!("predict regression.keras {photo}")).succeeds();
    assert!(run.err.contains("numbers of a regression") && !run.out.contains('%'), "{run}");
    assert!(run.err.contains("left out of the settings of compile: loss: expected one of"), "{run}");
    for command in ["evaluate regression.keras photos", "train photos --model regression.keras -o n.keras"] {
        place.run(command).fails(1, &["probabilities or logits of classes, received numbers that are neither"]);
    }
}

/// Tables that look like ours at first sight, or that somebody has added a column to, are never replaced unasked.
#[test]
fn tables_of_others_are_kept() {
    let place = place(2);
    let predict = "predict m.keras photos/red/00.bmp";
    for (name, text, form) in [
        ("labels.csv", "image,label\nphotos/red/00.bmp,red\n".to_owned(), "--csv"),
        ("notes.csv", format!("{HEADER},note\n"), "--csv"),
        ("own.jsonl", "{\"image\":\"a\",\"caption\":\"b\"}\n".to_owned(), "--json"),
    ] {
        place.write(name, text.as_bytes());
        place.run(&format!("{predict} {form} -o {name}")).fails(1, &["add --force"]);
        assert_eq!(place.read(name), text.as_bytes(), "{name}");
    }
    // The last row has no line end: it isn't cut off either.
    place.write("own.csv", b"image,label\nx.jpg,cat\ny.jpg,dog");
    place.run(&format!("{predict} --csv -o own.csv --skip-done own.csv")).fails(1, &["own.csv"]);
    assert_eq!(place.read("own.csv"), b"image,label\nx.jpg,cat\ny.jpg,dog");
    place.run(&format!("{predict} --csv -o notes.csv --force")).succeeds();
    place.run(&format!("{predict} --csv -o notes.csv")).succeeds();
    place.run("evaluate m.keras photos --mistakes notes.csv").fails(1, &["add --force"]);
}

#[test]
fn a_photo_is_done_whatever_path_leads_to_it() {
    let place = place(2);
    place.run("predict m.keras photos/red --csv -o a.csv").succeeds();
    let absolute = place.path("photos/red").display().to_string();
    for photos in ["./photos/red", absolute.as_str(), "photos/blue/../red"] {
        let run = place.run(&format!("predict m.keras {photos} --csv -o a.csv --skip-done a.csv")).succeeds();
        assert!(run.err.contains("2 of 2 photos done already"), "{run}");
    }
    assert_eq!(String::from_utf8(place.read("a.csv")).unwrap().lines().count(), 3);
}

#[test]
fn a_listed_path_is_no_pattern() {
    let place = place(1);
    place.write("photos/[1] a.bmp", &place.read("photos/red/00.bmp"));
    place.write("photos/b ", &place.read("photos/red/00.bmp"));
    std::fs::write(place.path("list.txt"), "photos/[1] a.bmp\nphotos/b \nphotos/[gone].bmp\n").unwrap();
    let input = Stdio::from(std::fs::File::open(place.path("list.txt")).unwrap());
    let run = place.run_with("predict m.keras - --csv", |command| command.stdin(input)).ends_with(1);
    let rows: Vec<&str> = run.out.lines().collect();
    assert_eq!(rows.len(), 4, "{run}");
    assert!(
        rows[1].contains("[1] a.bmp\",") && rows[2].starts_with("\"photos/b \",") && rows[3].contains("[gone].bmp: ")
    );
}
