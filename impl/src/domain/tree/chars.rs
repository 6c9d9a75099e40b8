//! Names, characters and references of XML 1.0.

use std::borrow::Cow;

use crate::domain::Problem;

/// Is this a name (production `Name`, with colons)?
pub(super) fn is_name(name: &str) -> bool {
    let ascii = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    let Some(&first) = name.as_bytes().first() else { return false };
    if name.bytes().all(ascii) {
        return !(first.is_ascii_digit() || matches!(first, b'-' | b'.'));
    }
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        ':' | 'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
        | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}'
        | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c,
            '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Is this a character (production `Char`)?
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The first character that XML does not allow, and where.
pub(super) fn forbidden(text: &str) -> Option<(usize, u32)> {
    // Nearly all text is clean: look at blocks without branches first.
    let suspicious = |block: &[u8]| {
        block.iter().fold(false, |found, &b| {
            found | ((b < 0x20) & (b != b'\t') & (b != b'\n') & (b != b'\r')) | (b == 0xEF)
        })
    };
    if !text.as_bytes().chunks(256).any(suspicious) {
        return None;
    }
    text.char_indices().find(|&(_, c)| !is_char(c)).map(|(at, c)| (at, c as u32))
}

/// Checks every `&…;` of `raw`; returns the offset of the first that is wrong.
pub(super) fn check_references(raw: &str) -> Result<(), (usize, Problem)> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'&', &raw.as_bytes()[from..]).map(|i| from + i) {
        let rest = &raw[at + 1..];
        let Some(len) = memchr::memchr(b';', rest.as_bytes()) else {
            return Err((at, Problem::Syntax("`&` starts no reference: write `&amp;`".into())));
        };
        check_reference(&rest[..len]).map_err(|problem| (at, problem))?;
        from = at + len + 2;
    }
    Ok(())
}

/// Checks what stands between `&` and `;`.
pub(super) fn check_reference(name: &str) -> Result<(), Problem> {
    if matches!(name, "lt" | "gt" | "amp" | "apos" | "quot") {
        return Ok(());
    }
    let Some(number) = name.strip_prefix('#') else {
        return Err(Problem::Entity(name.chars().take(64).collect()));
    };
    let code = match number.strip_prefix('x') {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16),
        None if number.bytes().all(|b| b.is_ascii_digit()) => number.parse(),
        _ => return Err(Problem::Entity(name.chars().take(64).collect())),
    };
    match code {
        Ok(code) if char::from_u32(code).is_some_and(is_char) => Ok(()),
        Ok(code) => Err(Problem::Character(code)),
        Err(_) => Err(Problem::Entity(name.chars().take(64).collect())),
    }
}

/// The text that `raw` stands for. References were checked when it was read.
fn resolve(raw: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr(b'&', raw.as_bytes()).is_none() {
        return raw;
    }
    match quick_xml::escape::unescape(&raw) {
        Ok(text) => Cow::Owned(text.into_owned()),
        Err(_) => raw,
    }
}

/// An attribute's value: white space is blanks (section 3.3.3 of the specification).
pub(super) fn attribute_value(raw: &str) -> Cow<'_, str> {
    if memchr::memchr3(b'\t', b'\n', b'\r', raw.as_bytes()).is_none() {
        return resolve(Cow::Borrowed(raw));
    }
    resolve(Cow::Owned(raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ")))
}

/// Character data: line ends are `\n` (section 2.11 of the specification).
pub(super) fn text_value(raw: &str) -> Cow<'_, str> {
    resolve(line_ends(raw))
}

/// Text without references, for CDATA.
pub(super) fn line_ends(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Appends an attribute's value to `to`, so that [`attribute_value`] gives it back.
pub(super) fn escape_attribute(value: &str, to: &mut String) {
    for c in value.chars() {
        match c {
            '\'' => to.push_str("&apos;"),
            '"' => to.push_str("&quot;"),
            '\t' => to.push_str("&#9;"),
            '\n' => to.push_str("&#10;"),
            c => escape(c, to),
        }
    }
}

/// Appends character data to `to`, so that [`text_value`] gives it back.
pub(super) fn escape_text(value: &str, to: &mut String) {
    value.chars().for_each(|c| escape(c, to));
}

fn escape(c: char, to: &mut String) {
    match c {
        '&' => to.push_str("&amp;"),
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '\r' => to.push_str("&#13;"),
        c => to.push(c),
    }
}
