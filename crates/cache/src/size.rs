//! Sizes in bytes as people write them: `2GB`, `500 MiB`, `1.5g`.

/// Parses a number with a unit of bytes, such as `2GB`, `2G`, `500MiB` or `1.5 tib`, and rounds down to whole bytes; `None` for any
/// other text.
///
/// K, M, G and T are powers of 1000, with or without a `B`; Ki, Mi, Gi and Ti are powers of 1024. Case and spaces don't matter. A
/// number alone has no unit, so it is no size: `2` is more likely 2 GB than 2 bytes.
///
/// ```
/// use engraft_cache::parse_size;
/// assert_eq!(parse_size("2G"), Some(2_000_000_000));
/// assert_eq!(parse_size("1.5 GiB"), Some(3 << 29));
/// assert_eq!(parse_size("2"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(char, i32); 4] = [('K', 1), ('M', 2), ('G', 3), ('T', 4)];
    let upper = text.trim().to_uppercase();
    let prefixed = upper.strip_suffix('B').unwrap_or(&upper);
    let (prefixed, base) = match prefixed.strip_suffix('I') {
        Some(binary) => (binary, 1024.0f64),
        None => (prefixed, 1000.0),
    };
    let (number, power) = UNITS.iter().find_map(|&(unit, power)| Some((prefixed.strip_suffix(unit)?, power)))?;
    let bytes = number.trim().parse::<f64>().ok()? * base.powi(power);
    // From 1 byte to below a petabyte; NaN is in no range.
    (1.0..1e15).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_way_to_write_a_unit_is_read() {
        for (texts, bytes) in [
            (["2G", "2GB", "2gb", " 2 g "], 2_000_000_000),
            (["2Gi", "2GiB", "2 gib", "2048MiB"], 2 << 30),
            (["512M", "512MB", "512 mb", "0.512G"], 512_000_000),
            (["1.5GiB", "1.5 GiB", "1.5gi", "1536 MiB"], 3 << 29),
            (["4k", "4KB", "4 kb", "4.0K"], 4000),
            (["1T", "1TB", "1000G", "1 tb"], 1_000_000_000_000),
        ] {
            texts.iter().for_each(|text| assert_eq!(parse_size(text), Some(bytes), "{text}"));
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        let texts = ["", "2", "2B", "2iB", "G", "GB", "-1GB", "nanGB", "infG", "1e30GB", "2XB", "2GBB", "0MB", "on"];
        texts.iter().for_each(|text| assert_eq!(parse_size(text), None, "{text}"));
    }
}
