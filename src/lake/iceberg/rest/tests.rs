//! What is said to a REST catalog; the server of the catalogs' tests judges the rest.

use super::*;
use crate::lake::iceberg::web::Answer;

#[test]
fn names_are_safe_in_paths() {
    assert_eq!(encoded("margay_logs.a-b~c"), "margay_logs.a-b~c");
    assert_eq!(encoded("a/b c%é\u{1f}"), "a%2Fb%20c%25%C3%A9%1F");
}

#[test]
fn a_refusal_is_told_with_the_words_of_the_server() {
    let answer = |status, body: &'static str| Answer { status, body: body.into() };
    let refused = answer(StatusCode::FORBIDDEN, r#"{"error":{"message":"not yours","code":403}}"#);
    assert_eq!(told(refused).unwrap_err(), "the catalog answered 403 Forbidden: not yours");
    assert!(told(answer(StatusCode::BAD_GATEWAY, "<html>")).unwrap_err().contains("502"));
    assert_eq!(told(answer(StatusCode::OK, r#"{"a":1}"#)).unwrap(), json!({ "a": 1 }));
}
