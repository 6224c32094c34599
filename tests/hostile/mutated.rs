//! Every reader on valid files with random changes. Each case has a fixed seed; `fuzz/README.md` says how to run more cases.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engraft_hostile::{Seed, reader};
use fastrand::Rng;

/// Number of cases of each reader, unless the environment variable `ENGRAFT_CASES` is set.
const CASES: u64 = 2000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the cases from number `ENGRAFT_FIRST_CASE` on. The number of a case is its seed.
fn run(name: &str) {
    let (reader, first) = (reader(name), number("ENGRAFT_FIRST_CASE", 0));
    let cases = number("ENGRAFT_CASES", CASES);
    let seeds: Vec<Seed> = (reader.valid)().into_iter().map(Seed::new).collect();
    let mut accepted = 0;
    for case in first..first + cases {
        let mut rng = Rng::with_seed(case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (seed, donor) = (&seeds[rng.usize(..seeds.len())], &seeds[rng.usize(..seeds.len())]);
        let bytes = seed.mutated(donor, &mut rng);
        match catch_unwind(AssertUnwindSafe(|| reader.check(&bytes))) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(_) => {
                let path = std::env::temp_dir().join(format!("engraft-{name}-{case}"));
                std::fs::write(&path, &bytes).expect("the temporary folder is writable");
                panic!("case {case} of `{name}` failed; its file is {}", path.display());
            }
        }
    }
    eprintln!("{name}: {cases} cases, {accepted} accepted, {} refused", cases - accepted);
    // If nearly all changed files were refused, or nearly all accepted, the changes would test little.
    assert!(accepted * 1000 > cases && (cases - accepted) * 10 > cases, "{accepted} of {cases} accepted");
}

macro_rules! readers {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_reader_is_here() {
            let here = [$(stringify!($name)),*];
            assert!(engraft_hostile::READERS.iter().map(|reader| reader.name).eq(here));
        }
    };
}

readers!(
    keras,
    keras_config,
    model_h5,
    weights_h5,
    safetensors,
    onnx,
    npy,
    npz,
    photo,
    cache_pack,
    label_file,
    class_names,
    architecture,
    inspect
);

/// Before they are changed, the files must be readable.
#[test]
fn valid_files_are_accepted() {
    for reader in &engraft_hostile::READERS {
        let accepted = (reader.valid)().iter().filter(|bytes| reader.check(bytes)).count();
        assert!(accepted > 0, "{}", reader.name);
    }
}
