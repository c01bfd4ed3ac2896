//! What a peer wrote, made fit for one line of a log or a terminal. Knows nothing of what the text says.

/// The text with each control character (line ends, escape sequences of terminals, also the 8-bit ones) written
/// out as `\n` or `\u{1b}`, so that it can neither begin a line of its own nor move a cursor.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out_and_others_kept() {
        for (text, expected) in [
            ("sub dir/Größe.c", "sub dir/Größe.c"),
            ("a.c\ndistccd[1] forged", "a.c\\ndistccd[1] forged"),
            ("\x1b]0;title\x07\u{9b}2J\r\t\0", "\\u{1b}]0;title\\u{7}\\u{9b}2J\\r\\t\\u{0}"),
            ("back\\slash", "back\\slash"),
        ] {
            assert_eq!(one_line(text), expected);
        }
    }
}
