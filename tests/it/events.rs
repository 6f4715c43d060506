//! Events for the stories: logins of Okta's system log, each of its own.

use std::sync::atomic::{AtomicU32, Ordering};

/// One login, as a line.
pub fn login() -> String {
    logins(1)
}

/// So many logins, a line each.
pub fn logins(count: usize) -> String {
    logins_of("ana@example.com", count)
}

/// Counts every login, by who logs in: with one name an object, the counts of the alerts tell what came of each object.
pub const COUNT_EACH: &str = "def rule(event):\n    return True\n\
                              def title(event):\n    return event.deep_get('actor', 'alternateId')\n";

/// So many logins of one person, a line each.
pub fn logins_of(name: &str, count: usize) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut lines = String::new();
    for _ in 0..count {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let event = serde_json::json!({
            "uuid": format!("{n:08x}-0000-4000-8000-000000000000"),
            "published": "2026-01-15T09:15:00.000Z",
            "eventType": "user.session.start",
            "version": "0",
            "severity": "INFO",
            "displayMessage": "User login to Okta",
            "actor": { "id": "00u1", "type": "User", "alternateId": name, "displayName": "Ana" },
            "client": { "ipAddress": "198.51.100.7" },
            "outcome": { "result": "SUCCESS" },
        });
        lines += &format!("{event}\n");
    }
    lines
}
