//! Text for the places that alerts are sent to: cut to a limit, and without meaning to the format that it stands in.
//! What an alert says was partly written by attackers. Pure.

use super::render::is_hostile;

/// Marks what was cut.
const MORE: &str = "… (truncated)";

/// At most `limit` characters, the mark included.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mark: String = if limit > 4 * MORE.len() { MORE.into() } else { "…".into() };
    let room = limit.saturating_sub(mark.chars().count());
    text.chars().take(room).chain(mark.chars()).take(limit).collect()
}

/// At most `limit` bytes of UTF-8, the mark included; `limit` has room for it.
pub fn cut_bytes(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(MORE.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MORE}", &text[..end])
}

/// One line of visible text: what ends lines, reorders or hides text becomes a space.
pub fn one_line(text: &str) -> String {
    let visible: String = text.chars().map(|char| if is_hostile(char) { ' ' } else { char }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines of visible text.
pub fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|char| if char != '\n' && char != '\t' && is_hostile(char) { ' ' } else { char }).collect()
}

/// For Slack's `mrkdwn`: without these three there is no link, no mention and no channel.
pub fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub fn html(text: &str) -> String {
    slack(text).replace('"', "&quot;").replace('\'', "&#39;")
}

/// For Markdown where a fence can't be used: every character with a meaning is escaped.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(
            char,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '<' | '>' | '#' | '~' | '|' | '!' | '@' | ':'
        ) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// A Markdown code block that nothing in the text can end.
pub fn fenced(text: &str) -> String {
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

/// A block of Jira's markup that nothing in the text can end.
pub fn noformat(text: &str) -> String {
    format!("{{noformat}}\n{}\n{{noformat}}", text.replace("{noformat", "{ noformat"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_ends_lines_or_hides_text_is_a_space() {
        assert_eq!(one_line("a\r\nBcc: x\u{202e}y\t z\u{200b}"), "a Bcc: x y z");
        assert_eq!(lines("a\r\nb\u{1b}[0m\tc"), "a\nb [0m\tc");
    }

    #[test]
    fn a_format_gets_its_own_escapes() {
        assert_eq!(slack("<!channel> & <http://x|y>"), "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
        assert_eq!(html("<a href='x' b=\"y\">"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;");
        assert_eq!(markdown("[x](http://y) @all"), r"\[x\]\(http\://y\) \@all");
        assert_eq!(fenced("a```b"), "````text\na```b\n````");
        assert_eq!(noformat("a{noformat}b"), "{noformat}\na{ noformat}b\n{noformat}");
    }

    proptest! {
        #[test]
        fn cut_text_is_the_beginning_and_within_the_limit(text in "(a|é|漢|👍){0,120}", limit in 20usize..100) {
            let (short, bytes) = (cut(&text, limit), cut_bytes(&text, limit));
            prop_assert!(short.chars().count() <= limit && bytes.len() <= limit);
            prop_assert_eq!(short == text, text.chars().count() <= limit);
            prop_assert_eq!(bytes == text, text.len() <= limit);
            prop_assert!(text.starts_with(short.trim_end_matches(MORE).trim_end_matches('…')));
        }
    }
}
