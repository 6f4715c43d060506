//! What a call does to an item. Pure: every store applies it to the item that it holds locked.
//!
//! - An item that has ended is as if it had never been there.
//! - What makes a new item ends after 90 days unless it says otherwise. What changes one that is there leaves its end alone
//!   unless it says otherwise: a window that a rule has opened for a key ends when the rule has said.
//! - A number of seconds below 1,000,000,000 is from now on, above that since 1970.
//! - What would have ended already is not kept.

use time::{Duration, OffsetDateTime};

use super::{Answer, Call, Item, ItemValue, MOST_ITEM_BYTES, MOST_KEY_BYTES, MOST_RULE_BYTES, MOST_STRINGS};
use super::{Operation, Refusal};

const DEFAULT_LIFE: Duration = Duration::days(90);
const FIRST_POINT_IN_TIME: f64 = 1e9;

/// What a call comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub next: Next,
    pub answer: Answer,
}

/// What is under the key from now on.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Same,
    Put(Item),
    Gone,
}

/// Applies a call to what stands under its key.
pub fn apply(call: &Call, item: Option<&Item>, now: OffsetDateTime) -> Result<Applied, Refusal> {
    call.check()?;
    let item = item.filter(|item| item.expires > now);
    let state = State { item, now };
    let (next, answer) = state.apply(&call.operation)?;
    if let Next::Put(item) = &next {
        check_size(&item.value)?;
    }
    Ok(Applied { next, answer })
}

/// Whether a rule that keeps `used` bytes now may keep `more` after this.
pub fn admit(used: u64, more: u64) -> Result<(), Refusal> {
    // Whoever has too much may still make it less.
    if more <= used || more <= MOST_RULE_BYTES {
        return Ok(());
    }
    Err(Refusal::Limit(format!(
        "the keys of this rule would take {more} bytes, and {MOST_RULE_BYTES} is the most: use fewer keys, or let them expire \
         sooner"
    )))
}

impl Call {
    /// Whether a store may be asked this at all.
    pub fn check(&self) -> Result<(), Refusal> {
        let value = |said: &str| Err(Refusal::Value(said.to_owned()));
        if self.key.is_empty() {
            return value("the key is empty");
        }
        if self.key.len() > MOST_KEY_BYTES {
            let length = self.key.len();
            return Err(Refusal::Value(format!("the key has {length} bytes, and {MOST_KEY_BYTES} is the most")));
        }
        let numbers = match &self.operation {
            Operation::IncrementCounter { expires, .. } | Operation::SetExpiration { expires } => [*expires, None],
            Operation::PutStringSet { expires, .. } | Operation::PutDictionary { expires, .. } => [*expires, None],
            Operation::EvaluateThreshold { threshold, expiry_seconds } => [Some(*threshold), Some(*expiry_seconds)],
            _ => [None, None],
        };
        if numbers.into_iter().flatten().any(|number| !number.is_finite()) {
            return value("a number of seconds, or a threshold, is not finite");
        }
        match &self.operation {
            Operation::PutStringSet { strings, .. }
            | Operation::AddToStringSet { strings }
            | Operation::RemoveFromStringSet { strings } => {
                check_size(&ItemValue { strings: strings.clone(), ..ItemValue::default() })
            }
            Operation::PutDictionary { json, .. } if json.len() > MOST_ITEM_BYTES => too_large(json.len()),
            _ => Ok(()),
        }
    }
}

fn check_size(value: &ItemValue) -> Result<(), Refusal> {
    let count = value.strings.len();
    if count > MOST_STRINGS {
        return Err(Refusal::Limit(format!("the set would have {count} strings, and {MOST_STRINGS} is the most")));
    }
    match value.bytes() {
        bytes if bytes > MOST_ITEM_BYTES => too_large(bytes),
        _ => Ok(()),
    }
}

fn too_large(bytes: usize) -> Result<(), Refusal> {
    Err(Refusal::Limit(format!("the item would take {bytes} bytes, and {MOST_ITEM_BYTES} is the most")))
}

/// What a call finds.
struct State<'a> {
    item: Option<&'a Item>,
    now: OffsetDateTime,
}

impl State<'_> {
    fn apply(&self, operation: &Operation) -> Result<(Next, Answer), Refusal> {
        Ok(match operation {
            Operation::GetCounter => (Next::Same, Answer::Count(self.counter().unwrap_or(0))),
            Operation::GetStringSet => (Next::Same, Answer::Strings(self.value().strings)),
            Operation::GetDictionary => (Next::Same, Answer::Dictionary(self.value().dictionary)),
            Operation::IncrementCounter { by, expires } => {
                let count = self.counted(*by)?;
                (self.with_counter(count, expires.map(|at| self.end(at))), Answer::Count(count))
            }
            Operation::ResetCounter => (self.with_counter(0, None), Answer::Done),
            Operation::SetExpiration { expires } => (self.ending(*expires), Answer::Done),
            Operation::EvaluateThreshold { threshold, expiry_seconds } => {
                let count = self.counted(1)?;
                let ends = (count == 1).then(|| self.seconds_later(*expiry_seconds));
                let reached = count as f64 >= *threshold;
                (self.with_counter(if reached { 0 } else { count }, ends), Answer::Reached(reached))
            }
            Operation::PutStringSet { strings, .. } if strings.is_empty() => (self.without_strings(), Answer::Done),
            Operation::PutStringSet { strings, expires } => {
                let value = ItemValue { strings: strings.clone(), ..ItemValue::default() };
                (self.kept(value, self.end_or_default(*expires)), Answer::Done)
            }
            Operation::AddToStringSet { strings } => {
                let mut value = self.value();
                value.strings.extend(strings.iter().cloned());
                let answer = Answer::Strings(value.strings.clone());
                (self.changed(value), answer)
            }
            Operation::RemoveFromStringSet { strings } => {
                let mut value = self.value();
                value.strings.retain(|one| !strings.contains(one));
                let answer = Answer::Strings(value.strings.clone());
                (self.changed(value), answer)
            }
            Operation::ResetStringSet => (self.without_strings(), Answer::Done),
            Operation::PutDictionary { json, expires } => {
                let value = ItemValue { dictionary: Some(json.clone()), ..ItemValue::default() };
                (self.kept(value, self.end_or_default(*expires)), Answer::Done)
            }
        })
    }

    fn value(&self) -> ItemValue {
        self.item.map(|item| item.value.clone()).unwrap_or_default()
    }

    fn counter(&self) -> Option<i64> {
        self.item.and_then(|item| item.value.counter)
    }

    fn counted(&self, by: i64) -> Result<i64, Refusal> {
        let count = self.counter().unwrap_or(0).checked_add(by);
        count.ok_or_else(|| Refusal::Value("the counter would no longer fit in 64 bits".to_owned()))
    }

    fn with_counter(&self, count: i64, ends: Option<OffsetDateTime>) -> Next {
        let value = ItemValue { counter: Some(count), ..self.value() };
        self.kept(value, ends.unwrap_or_else(|| self.own_end()))
    }

    fn without_strings(&self) -> Next {
        self.changed(ItemValue { strings: Default::default(), ..self.value() })
    }

    fn ending(&self, expires: Option<f64>) -> Next {
        match self.item {
            Some(item) => self.kept(item.value.clone(), self.end_or_default(expires)),
            None => Next::Same,
        }
    }

    /// The same item with another value.
    fn changed(&self, value: ItemValue) -> Next {
        self.kept(value, self.own_end())
    }

    fn kept(&self, value: ItemValue, expires: OffsetDateTime) -> Next {
        match self.item {
            Some(item) if item.value == value && item.expires == expires => Next::Same,
            None if value.is_empty() => Next::Same,
            _ if value.is_empty() || expires <= self.now => Next::Gone,
            _ => Next::Put(Item { value, expires }),
        }
    }

    fn own_end(&self) -> OffsetDateTime {
        self.item.map_or(self.now + DEFAULT_LIFE, |item| item.expires)
    }

    fn end_or_default(&self, expires: Option<f64>) -> OffsetDateTime {
        expires.map_or(self.now + DEFAULT_LIFE, |at| self.end(at))
    }

    fn end(&self, expires: f64) -> OffsetDateTime {
        if expires < FIRST_POINT_IN_TIME { self.seconds_later(expires) } else { point_in_time(expires) }
    }

    fn seconds_later(&self, seconds: f64) -> OffsetDateTime {
        point_in_time(self.now.unix_timestamp_nanos() as f64 / 1e9 + seconds)
    }
}

/// In whole microseconds, as stores keep it; what lies beyond the year 9999 is its end.
fn point_in_time(seconds: f64) -> OffsetDateTime {
    const LATEST: f64 = 253_402_300_799.0;
    let micros = (seconds.clamp(0.0, LATEST) * 1e6).round() as i128;
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1000).expect("it lies between 1970 and 9999")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05.75 UTC);
    const HOUR: f64 = 3600.0;

    fn call(operation: Operation) -> Call {
        Call { key: "k".into(), operation }
    }

    fn set(strings: &[&str]) -> BTreeSet<String> {
        strings.iter().map(|one| (*one).to_owned()).collect()
    }

    /// What stands under a key, at a time.
    struct Place(Option<Item>, OffsetDateTime);

    impl Place {
        fn new() -> Place {
            Place(None, NOW)
        }

        fn does(&mut self, operation: Operation) -> Answer {
            let applied = apply(&call(operation), self.0.as_ref(), self.1).unwrap();
            match applied.next {
                Next::Same => {}
                Next::Put(item) => self.0 = Some(item),
                Next::Gone => self.0 = None,
            }
            applied.answer
        }

        fn increment(&mut self, by: i64, expires: Option<f64>) -> i64 {
            match self.does(Operation::IncrementCounter { by, expires }) {
                Answer::Count(count) => count,
                other => panic!("{other:?}"),
            }
        }

        fn ends_in(&self) -> Duration {
            self.0.as_ref().unwrap().expires - self.1
        }
    }

    #[test]
    fn a_counter_counts_and_keeps_its_end_unless_told_another() {
        let mut place = Place::new();
        assert_eq!(place.does(Operation::GetCounter), Answer::Count(0));
        assert_eq!((place.increment(1, None), place.ends_in()), (1, DEFAULT_LIFE));
        place.does(Operation::SetExpiration { expires: Some(HOUR) });
        assert_eq!((place.increment(5, None), place.ends_in()), (6, Duration::HOUR));
        assert_eq!((place.increment(-2, Some(60.0)), place.ends_in()), (4, Duration::MINUTE));
        place.1 += Duration::MINUTE;
        assert_eq!(place.does(Operation::GetCounter), Answer::Count(0));
        assert_eq!((place.increment(3, None), place.ends_in()), (3, DEFAULT_LIFE));
        place.does(Operation::ResetCounter);
        assert_eq!(place.does(Operation::GetCounter), Answer::Count(0));
    }

    #[test]
    fn times_are_from_now_or_since_1970() {
        let mut place = Place::new();
        place.increment(1, Some(NOW.unix_timestamp() as f64 + 10.0));
        assert_eq!(place.ends_in(), Duration::milliseconds(9250));
        place.increment(1, Some(999_999_999.0));
        assert_eq!(place.ends_in(), Duration::seconds(999_999_999));
        place.increment(1, Some(1e300));
        assert!(place.0.as_ref().unwrap().expires.year() == 9999);
        // What has ended already is answered and not kept.
        assert_eq!(place.increment(1, Some(1_000_000_000.0)), 4);
        assert_eq!(place.0, None);
        assert_eq!(place.increment(1, Some(-5.0)), 1);
        assert_eq!(place.0, None);
        place.does(Operation::SetExpiration { expires: None });
        assert_eq!(place.0, None, "there is nothing whose end could be set");
    }

    #[test]
    fn a_threshold_is_reached_once_in_its_window() {
        let mut place = Place::new();
        let once = || Operation::EvaluateThreshold { threshold: 3.0, expiry_seconds: HOUR };
        let mut said = Vec::new();
        for _ in 0..7 {
            said.push(place.does(once()) == Answer::Reached(true));
            place.1 += Duration::MINUTE;
        }
        assert_eq!(said, [false, false, true, false, false, true, false]);
        assert_eq!(place.ends_in(), Duration::HOUR - Duration::MINUTE, "the window is that of its first event");
        place.1 += Duration::HOUR;
        assert_eq!(place.does(once()), Answer::Reached(false));
        assert_eq!(place.does(Operation::GetCounter), Answer::Count(1));
        let at_once = Operation::EvaluateThreshold { threshold: 1.0, expiry_seconds: HOUR };
        assert_eq!(Place::new().does(at_once), Answer::Reached(true));
    }

    #[test]
    fn sets_grow_shrink_and_are_replaced_whole() {
        let mut place = Place::new();
        assert_eq!(place.does(Operation::RemoveFromStringSet { strings: set(&["a"]) }), Answer::Strings(set(&[])));
        assert_eq!(place.0, None);
        let added = place.does(Operation::AddToStringSet { strings: set(&["b", "a"]) });
        assert_eq!(added, Answer::Strings(set(&["a", "b"])));
        place.increment(2, None);
        let left = place.does(Operation::RemoveFromStringSet { strings: set(&["b", "z"]) });
        assert_eq!(left, Answer::Strings(set(&["a"])));
        place.does(Operation::ResetStringSet);
        assert_eq!(place.does(Operation::GetStringSet), Answer::Strings(set(&[])));
        assert_eq!(place.does(Operation::GetCounter), Answer::Count(2), "the counter has a place of its own");
        place.does(Operation::PutStringSet { strings: set(&["x"]), expires: Some(HOUR) });
        assert_eq!((place.does(Operation::GetCounter), place.ends_in()), (Answer::Count(0), Duration::HOUR));
        place.does(Operation::PutStringSet { strings: set(&[]), expires: None });
        assert_eq!(place.0, None);
    }

    #[test]
    fn a_dictionary_is_given_back_as_it_was_put() {
        let mut place = Place::new();
        assert_eq!(place.does(Operation::GetDictionary), Answer::Dictionary(None));
        place.does(Operation::AddToStringSet { strings: set(&["a"]) });
        let json = r#"{"b": 1.50, "a": "é"}"#.to_owned();
        place.does(Operation::PutDictionary { json: json.clone(), expires: None });
        assert_eq!(place.does(Operation::GetDictionary), Answer::Dictionary(Some(json)));
        assert_eq!(place.does(Operation::GetStringSet), Answer::Strings(set(&[])), "it replaced the item");
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let item = Item {
            value: ItemValue { counter: Some(i64::MAX), ..ItemValue::default() },
            expires: NOW + Duration::HOUR,
        };
        let refused = |call: &Call| apply(call, Some(&item), NOW).unwrap_err();
        let increment = Operation::IncrementCounter { by: 1, expires: None };
        assert!(matches!(refused(&call(increment)), Refusal::Value(said) if said.contains("64 bits")));
        for key in [String::new(), "k".repeat(MOST_KEY_BYTES + 1)] {
            assert!(matches!(refused(&Call { key, operation: Operation::GetCounter }), Refusal::Value(_)));
        }
        let long = set(&[&"x".repeat(MOST_ITEM_BYTES)]);
        let many: BTreeSet<String> = (0..=MOST_STRINGS).map(|number| number.to_string()).collect();
        for strings in [long, many] {
            assert!(matches!(refused(&call(Operation::AddToStringSet { strings })), Refusal::Limit(_)));
        }
        let json = "x".repeat(MOST_ITEM_BYTES + 1);
        assert!(matches!(refused(&call(Operation::PutDictionary { json, expires: None })), Refusal::Limit(_)));
        let expires = Some(f64::NAN);
        assert!(matches!(refused(&call(Operation::SetExpiration { expires })), Refusal::Value(_)));
    }

    #[test]
    fn a_rule_that_has_too_much_may_only_make_it_less() {
        admit(0, MOST_RULE_BYTES).unwrap();
        admit(MOST_RULE_BYTES + 10, MOST_RULE_BYTES + 5).unwrap();
        assert!(matches!(admit(MOST_RULE_BYTES - 1, MOST_RULE_BYTES + 1), Err(Refusal::Limit(_))));
    }
}
