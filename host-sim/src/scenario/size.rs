//! Quantities as scenario files write them: `"64KiB"`, `"3us"`.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A size in bytes, written `"512B"`, `"4KiB"`, `"64MiB"`, `"1GiB"` or `"16TiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time in nanoseconds, written `"250ns"`, `"3us"`, `"10ms"` or `"1s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

const SIZES: [(&str, u64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];
const TIMES: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// Splits `text` into its digits and its unit.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// What `text` would be without blanks, or with a whole number of a smaller unit.
fn meant(text: &str, units: &[(&str, u64)]) -> Option<String> {
    let dense: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
    let (number, unit) = dense.split_at(dense.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = u32::try_from(part.len()).ok().filter(|digits| *digits <= 9)?;
    let parts: u64 = format!("{whole}{part}").parse().ok()?;
    let total = parts.checked_mul(*scale)?;
    let tens = 10_u64.pow(digits);
    total.is_multiple_of(tens).then(|| in_units(total / tens, units))
}

/// `value` in the largest of `units` that leaves a whole number.
fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().filter(|(_, scale)| value != 0 && value.is_multiple_of(*scale));
    let smallest = units.iter().min_by_key(|(_, scale)| *scale);
    let (name, scale) = fits.max_by_key(|(_, scale)| *scale).or(smallest).unwrap_or(&("", 1));
    format!("{}{name}", value / scale)
}

fn scaled(text: &str, units: &[(&str, u64)], form: &str) -> Result<u64, String> {
    let shown = crate::escape::terminal_cut(text, 40);
    if let Some(meant) =
        meant(text, units).filter(|meant| text.contains([' ', '.']) && meant != text)
    {
        let message = format!("`{shown}` has a blank or a fraction: write {form}");
        return Err(format!("{message}: did you mean `{meant}`?"));
    }
    let too_large = || format!("`{shown}` does not fit into 64 bits");
    let (digits, unit) = split(text);
    if digits.is_empty() {
        return Err(format!("`{shown}` is no whole number with a unit: write {form}"));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        let meant = unit_meant(unit, units).map(|unit| format!(": did you mean `{digits}{unit}`?"));
        let what = match unit.chars().next() {
            None => "no unit",
            Some('.' | ',') => "a fraction",
            Some(_) => "no known unit",
        };
        return Err(format!("`{shown}` has {what}: write {form}{}", meant.unwrap_or_default()));
    };
    let number: u64 = digits.parse().map_err(|_| too_large())?;
    number.checked_mul(*scale).ok_or_else(too_large)
}

/// The unit of `units` that somebody means who writes `unit`.
fn unit_meant(unit: &str, units: &[(&str, u64)]) -> Option<&'static str> {
    let meant = match unit {
        "KB" | "kB" | "K" | "k" | "Ki" | "Kib" | "kib" | "kiB" => "KiB",
        "MB" | "M" | "m" | "mb" | "Mi" | "Mib" | "mib" => "MiB",
        "GB" | "G" | "g" | "gb" | "Gi" | "Gib" | "gib" => "GiB",
        "TB" | "T" | "t" | "tb" | "Ti" | "Tib" | "tib" => "TiB",
        "b" | "byte" | "bytes" => "B",
        "nsec" => "ns",
        "\u{b5}s" | "\u{3bc}s" | "usec" => "us",
        "msec" => "ms",
        "sec" => "s",
        _ => return None,
    };
    units.iter().any(|(name, _)| *name == meant).then_some(meant)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_units(self.0, &TIMES))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_units(self.0, &SIZES))
    }
}

struct Quantity(&'static [(&'static str, u64)], &'static str);

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        scaled(text, self.0, self.1).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        let (form, meant) = (self.1, in_units(number, self.0));
        let message = format!("{number} has no unit: write {form}: did you mean `\"{meant}\"`?");
        Err(E::custom(message))
    }
}

const SIZE_FORM: &str = "a size like \"64KiB\" (B, KiB, MiB, GiB or TiB)";
const TIME_FORM: &str = "a time like \"3us\" (ns, us, ms or s)";

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Quantity(&SIZES, SIZE_FORM)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Quantity(&TIMES, TIME_FORM)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_a_decimal_unit_is_refused_with_the_binary_one_named() {
        assert_eq!(scaled("64KiB", &SIZES, SIZE_FORM), Ok(65536));
        assert_eq!(scaled("512B", &SIZES, SIZE_FORM), Ok(512));
        let refused = scaled("64MB", &SIZES, SIZE_FORM).expect_err("MB is decimal");
        assert!(refused.contains("did you mean `64MiB`?"), "{refused}");
    }

    #[test]
    fn a_quantity_that_does_not_fit_or_has_no_number_is_refused() {
        for wrong in
            ["99999999999GiB", "99999999999999999999B", "KiB", "", "-4KiB", "4.5KiB", "4 KiB"]
        {
            assert!(scaled(wrong, &SIZES, SIZE_FORM).is_err(), "{wrong}");
        }
        assert_eq!(scaled("3us", &TIMES, TIME_FORM), Ok(3_000));
    }

    #[test]
    fn blanks_and_fractions_are_refused_with_what_was_meant() {
        for (wrong, meant) in [
            ("64 MiB", "`64MiB`"),
            ("1.5GiB", "`1536MiB`"),
            ("0.5 KiB", "`512B`"),
            ("64 KB", "write a size"),
        ] {
            let refused = scaled(wrong, &SIZES, SIZE_FORM).expect_err(wrong);
            assert!(refused.contains(meant), "{refused}");
        }
        for (wrong, meant) in [("3\u{b5}s", "`3us`"), ("5sec", "`5s`"), ("5m", "no known unit")] {
            let refused = scaled(wrong, &TIMES, TIME_FORM).expect_err(wrong);
            assert!(refused.contains(meant) && !refused.contains("MiB"), "{refused}");
        }
        let refused = scaled("64Ki", &SIZES, SIZE_FORM).expect_err("no unit of ours");
        assert!(refused.contains("`64KiB`"), "{refused}");
        let refused = scaled("6.4KiB", &SIZES, SIZE_FORM).expect_err("no whole bytes");
        assert!(refused.contains("has a fraction"), "{refused}");
        let refused = scaled("18446744073709551616B", &SIZES, SIZE_FORM).expect_err("2^64");
        assert!(refused.contains("64 bits"), "{refused}");
        let refused = scaled("0.5us", &TIMES, TIME_FORM).expect_err("a fraction");
        assert!(refused.contains("`500ns`"), "{refused}");
    }
}
