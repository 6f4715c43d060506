//! Which destinations a new alert is delivered to. Pure.
//!
//! It stands in `state` and not in `alert`, because the deliveries are written in the transaction that opens the alert,
//! and `state` may not import the rooms above it.

/// An override that says: deliver nowhere.
const NOWHERE: &str = "SKIP";

/// Names out of `available` (the enabled destinations), each once. The first of these that decides wins:
///
/// 1. `chosen`, what the rule's `destinations` function returned: exactly these, or none for an empty list. One unknown
///    name makes the whole list undecided.
/// 2. `output_ids` of the rule's metadata: those that are available. When none of them is, this is undecided too: an
///    alert that nobody hears of is worse than one that too many do.
/// 3. All of `available`.
pub fn route<'a>(chosen: Option<&[String]>, output_ids: &[String], available: &'a [String]) -> Vec<&'a str> {
    let known = |name: &String| available.iter().find(|other| *other == name).map(String::as_str);
    if let Some(chosen) = chosen {
        if is_nowhere(chosen) || chosen.is_empty() {
            return Vec::new();
        }
        if let Some(names) = chosen.iter().map(known).collect() {
            return once(names);
        }
    }
    if is_nowhere(output_ids) {
        return Vec::new();
    }
    let names: Vec<&str> = output_ids.iter().filter_map(known).collect();
    once(if names.is_empty() { available.iter().map(String::as_str).collect() } else { names })
}

fn is_nowhere(names: &[String]) -> bool {
    matches!(names, [name] if name == NOWHERE)
}

fn once(names: Vec<&str>) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::with_capacity(names.len());
    for name in names {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn routed(chosen: Option<&[&str]>, output_ids: &[&str]) -> Vec<String> {
        let chosen = chosen.map(names);
        let available = names(&["stdout", "slack", "pager"]);
        route(chosen.as_deref(), &names(output_ids), &available).into_iter().map(String::from).collect()
    }

    #[test]
    fn the_rule_s_function_comes_first() {
        assert_eq!(routed(Some(&["slack"]), &["pager"]), ["slack"]);
        assert_eq!(routed(Some(&["slack", "stdout", "slack"]), &[]), ["slack", "stdout"]);
        for nowhere in [&[][..], &["SKIP"]] {
            assert!(routed(Some(nowhere), &["pager"]).is_empty(), "{nowhere:?}");
        }
    }

    #[test]
    fn an_unknown_name_falls_through_to_the_metadata_and_then_to_all() {
        assert_eq!(routed(Some(&["slack", "nobody"]), &["pager"]), ["pager"]);
        assert_eq!(routed(Some(&["nobody"]), &[]), ["stdout", "slack", "pager"]);
        assert_eq!(routed(None, &["nobody", "slack"]), ["slack"]);
        assert_eq!(routed(None, &["nobody"]), ["stdout", "slack", "pager"]);
        assert!(routed(None, &["SKIP"]).is_empty());
        assert!(routed(Some(&["nobody"]), &["SKIP"]).is_empty());
    }

    #[test]
    fn without_a_word_of_the_rule_all_are_told() {
        assert_eq!(routed(None, &[]), ["stdout", "slack", "pager"]);
    }
}
