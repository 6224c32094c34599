//! Every reader on valid files with random changes, always the same ones: `fuzz/README.md` tells how to run more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engraft_hostile::{Seed, reader};
use fastrand::Rng;

/// Cases of each reader, unless the variable `ENGRAFT_CASES` says how many.
const CASES: u64 = 2000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the cases from number `ENGRAFT_FIRST_CASE` on. Each is drawn from its own number alone.
fn run(name: &str) {
    let (reader, first) = (reader(name), number("ENGRAFT_FIRST_CASE", 0));
    let cases = number("ENGRAFT_CASES", CASES);
    let seeds: Vec<Seed> = (reader.valid)().into_iter().map(Seed::new).collect();
    let mut taken = 0;
    for case in first..first + cases {
        let mut rng = Rng::with_seed(case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (seed, donor) = (&seeds[rng.usize(..seeds.len())], &seeds[rng.usize(..seeds.len())]);
        let bytes = seed.mutated(donor, &mut rng);
        match catch_unwind(AssertUnwindSafe(|| reader.check(&bytes))) {
            Ok(took) => taken += u64::from(took),
            Err(_) => {
                let path = std::env::temp_dir().join(format!("engraft-{name}-{case}"));
                std::fs::write(&path, &bytes).expect("room for a file");
                panic!("case {case} of `{name}` is a finding; it is kept as {}", path.display());
            }
        }
    }
    eprintln!("{name}: {cases} cases, {taken} taken, {} refused", cases - taken);
    // Changes that are all refused at the door, or all without effect, would find nothing.
    assert!(taken * 1000 > cases && (cases - taken) * 10 > cases, "{taken} of {cases} taken");
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

readers!(keras, keras_config, model_h5, weights_h5, safetensors, onnx, npy, npz, photo, inspect);

/// What is changed must be read to begin with.
#[test]
fn valid_files_are_taken() {
    for reader in &engraft_hostile::READERS {
        let taken = (reader.valid)().iter().filter(|bytes| reader.check(bytes)).count();
        assert!(taken > 0, "{}", reader.name);
    }
}
