//! The page for browsers: one document that brings its style and its script along and asks `/json` for the numbers.

use crate::sys::temp;

/// The document; `@NONCE@` stands where a response's own word belongs.
const DOCUMENT: &str = include_str!("page.html");

/// The header lines of one response, and its body. Only the style and the script of this very response run: they name
/// a word nobody else knows.
pub fn page() -> (String, String) {
    let nonce: String = (0..4).map(|_| temp::random_name()).collect();
    let policy = format!(
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    );
    (policy, DOCUMENT.replace("@NONCE@", &nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let (policy, page) = page();
        assert!(policy.contains("default-src 'none'") && !policy.contains("inline'"));
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        // The name of SVG's elements is not fetched.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=", "@import", "url(", "innerHTML", "insertAdjacentHTML", "eval("]
        {
            assert!(!page.contains(word), "{word}");
        }
        assert_ne!(self::page().1, self::page().1);
    }
}
