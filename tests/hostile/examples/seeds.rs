//! Writes the seed files of libFuzzer's corpus: `cargo run -p engraft-hostile --example seeds fuzz/corpus`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(corpus) = std::env::args_os().nth(1).map(PathBuf::from) else { return Ok(()) };
    for reader in &engraft_hostile::READERS {
        let folder = corpus.join(reader.name);
        std::fs::create_dir_all(&folder)?;
        for (number, bytes) in (reader.valid)().iter().enumerate() {
            std::fs::write(folder.join(format!("valid{number}")), bytes)?;
        }
    }
    Ok(())
}
