//! A terminal taken over for a while: its second screen without a cursor, given back when dropped. Knows how to draw
//! lines, not what is in them.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;

use crate::sys::tty;

/// The second screen, and no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor, and the first screen as it was.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
/// What a terminal is taken for that does not say how large it is.
const SIZE_DEFAULT: (usize, usize) = (80, 24);

/// How a part of a line looks (select graphic rendition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As all the rest.
    Plain,
    /// Bold.
    Bold,
    /// Less bright.
    Dim,
    /// Something is wrong.
    Red,
    /// Work that is done elsewhere.
    Green,
    /// Work on this machine.
    Yellow,
    /// On its way there.
    Blue,
    /// On its way back.
    Cyan,
    /// Waiting.
    Magenta,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Look::Plain => "0",
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Red => "31",
            Look::Green => "32",
            Look::Yellow => "33",
            Look::Blue => "34",
            Look::Magenta => "35",
            Look::Cyan => "36",
        }
    }
}

/// A line on its way to a terminal, never wider than that and without a byte that would steer it.
#[derive(Debug)]
pub struct Line {
    text: String,
    left: usize,
    is_coloured: bool,
}

impl Line {
    /// An empty line with room for so many columns.
    pub fn new(columns: usize, is_coloured: bool) -> Line {
        Line { text: String::new(), left: columns, is_coloured }
    }

    /// Adds what fits of a text.
    pub fn put(&mut self, look: Look, text: &str) -> &mut Line {
        let is_marked = self.is_coloured && look != Look::Plain;
        if is_marked {
            let _ = write!(self.text, "\x1b[{}m", look.code());
        }
        for character in text.chars().map(harmless).take(self.left) {
            self.text.push(character);
            self.left -= 1;
        }
        if is_marked {
            self.text.push_str("\x1b[0m");
        }
        self
    }

    /// Adds a text in a column of this width; a longer one is cut.
    pub fn put_in(&mut self, look: Look, width: usize, text: &str) -> &mut Line {
        let padded: String = text.chars().chain(std::iter::repeat(' ')).take(width).collect();
        self.put(look, &padded)
    }

    /// How many columns are left.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The line.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// A character that takes one column on every terminal and steers none.
fn harmless(character: char) -> char {
    match character {
        ' '..='~' => character,
        // Latin, Greek and Cyrillic; beyond them are double width, combining marks and changes of direction.
        '\u{a1}'..='\u{52f}' if character.is_alphanumeric() => character,
        _ => '?',
    }
}

/// Standard output as a screen.
#[derive(Debug)]
pub struct Screen {
    is_entered: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub fn enter() -> io::Result<Screen> {
        let mut screen = Screen { is_entered: false };
        screen.again()?;
        Ok(screen)
    }

    /// The same, after [`Screen::leave`].
    pub fn again(&mut self) -> io::Result<()> {
        self.is_entered = true;
        put(ENTER)
    }

    /// Gives the terminal back.
    pub fn leave(&mut self) {
        if std::mem::take(&mut self.is_entered) {
            // Nobody is left to be told if it is gone.
            let _ = put(LEAVE);
        }
    }

    /// Columns and rows.
    pub fn size() -> (usize, usize) {
        tty::size(io::stdout().as_fd()).unwrap_or(SIZE_DEFAULT)
    }

    /// Shows these lines, in one write, over what is there: clearing first would flicker.
    pub fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        put(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_padded_and_harmless() {
        type Parts<'a> = &'a [(Look, usize, &'a str)];
        let cases: [(Parts<'_>, &str); 4] = [
            (&[(Look::Plain, 4, "abcdef"), (Look::Red, 3, "x")], "abcdx  "),
            (&[(Look::Plain, 12, "a\x1b[2J\x07\u{9b}\u{202e}b")], "a?[2J???b "),
            (&[(Look::Plain, 12, "a\u{301}日é")], "a??é      "),
            (&[(Look::Plain, 20, "0123456789abc")], "0123456789"),
        ];
        for (parts, want) in cases {
            let mut line = Line::new(10, false);
            for (look, width, text) in parts {
                line.put_in(*look, *width, text);
            }
            assert_eq!(line.finish(), want);
        }
        assert_eq!(Line::new(2, true).put(Look::Red, "abc").finish(), "\x1b[31mab\x1b[0m");
    }
}
