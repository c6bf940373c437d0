//! Signatures are those of the SDK to the byte, and only what its keys signed is let in. The vectors were made with the
//! functions of the npm package, version 4.24.0.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{InvalidSigningKey, Keys, Payload, SigningKey, readable_body};

const T: i64 = 1_700_000_000;

fn key(pair: &str) -> SigningKey {
    SigningKey::parse(&format!("signkey-prod-{}", pair.repeat(32))).unwrap()
}

fn keys(pairs: &[&str]) -> Keys {
    Keys::new(pairs.iter().map(|pair| key(pair)).collect())
}

#[test]
fn bodies_are_signed_as_the_sdk_signs_them() {
    let keys = keys(&["ab"]);
    for (body, tag) in [
        ("", "12d9b6b90ade26843e2c7833b54f99400f02ebd968327a455399d9976b80e308"),
        (
            r#"{"b":1,"a":[1.0,2e3,1e21,0.1,-0],"é":"\u00e9\u2028\u007f\n/","𝄞":1,"\ufb33":2}"#,
            "18ebb93e3e95096a6bc6875c9791515d97b628a6c436a5409b9c735f65c5fdaa",
        ),
        ("[]", "cd49801bc832ded284264f1049ca6c43e34a2b5ef323bcec84f545d6731f5614"),
        ("12345678901234567890", "b461d985a5955a9bc9a5eedc443e2de582dd93a3d27536bf2470093c797ff8cb"),
        ("\"abc\"", "149e4c74ac79c9407e6443717c9f4943ef63d85193c161ad1ba12252b29fdffe"),
        (r#""\u0001é""#, "503ef8ce052441580765c7214b4ba85b01741381aeaaceffc6fd604f57949bf6"),
        ("null", "ae6431406c8ac213d1b4edb88553ab590dddd084536fc02e1cf4e6bd4285ec08"),
        ("true", "03c8df4d4366ca7ce14e6ba951c53f9ae9cbef21c025a13699f51866599105af"),
        (
            r#" { "z" : { "y" : null , "x" : [ ] } } "#,
            "97e20d11fdc7eed68f0388ba4c6ba7b82763155efadb67911024342505e6bb77",
        ),
        (r#"{"a":1,"a":2}"#, "61608be76c0be45bedb61d49ed310ef37dbe69c6d10c6c7eb9925eab264dde31"),
        (r#"{"10":1,"9":2,"":3}"#, "2c8e9f141fb9d079ead0ac1fe5d2f867b59a0e4d6e84ada5beb2b9c4a245d5b8"),
        ("1e-7", "85b8492494575bfe8c845bc1c1ab4aeef1eeac8a11937d3c485bad10c50f22ef"),
        ("0.30000000000000004", "c626a4257a4f1766335a17311e8e2d6e383c4c1cd34c05a2636f9ac87ac19a19"),
        (
            r#"{"x":9007199254740993,"y":1.7976931348623157e308,"z":5e-324}"#,
            "7127425d712c728b91c7b0e0fb657ee5e554075377d7c587bb7f414f53989cb2",
        ),
        ("7.038531e-26", "3efac6bea930dca654ee5f0b0d2f939d04bf80a5321bc978afecab5988854f75"),
        ("123456789.12345678987654321", "4aff37f3525ce4a3f3271204b0f7a6a3ba18c35ea274bff2d822f0927c33ad67"),
    ] {
        for method in ["POST", "PUT", "put"] {
            assert_eq!(keys.signature_header(method, body, T), format!("t={T}&s={tag}"), "{method} {body}");
        }
    }
}

#[test]
fn what_the_sdk_does_not_read_is_not_signed() {
    let keys = keys(&["ab"]);
    let empty = keys.sign(Payload::Empty, T);
    for method in ["GET", "DELETE", "PATCH", "HEAD"] {
        assert_eq!(keys.signature_header(method, r#"{"a":1}"#, T), empty, "{method}");
    }
    for body in ["a=1", "{\"a\":", "  ", "\u{feff}{}"] {
        assert_eq!((readable_body("POST", body), keys.signature_header("POST", body, T)), ("", empty.clone()));
    }
    assert_eq!(readable_body("PUT", " [1] "), " [1] ");
    assert_eq!(readable_body("DELETE", "a=1"), "a=1");
}

#[test]
fn without_a_key_the_signature_is_there_all_the_same() {
    assert_eq!(Keys::default().signature_header("POST", "{}", 7), format!("t=7&s={}", "0".repeat(64)));
    assert!(Keys::default().is_empty() && !keys(&["ab"]).is_empty());
}

#[test]
fn a_bearer_shows_a_key_hashed_or_raw_with_any_prefix() {
    let keys = keys(&["cd", "ab"]);
    let hash = "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885";
    let raw = "ab".repeat(32);
    assert_eq!(key("ab").bearer(), format!("signkey-prod-{hash}"));
    for shown in [
        format!("Bearer signkey-prod-{hash}"),
        format!("Bearer signkey-branch_1-{hash}"),
        format!("bearer {hash}"),
        format!("Bearer   {} ", hash.to_uppercase()),
        format!("Bearer signkey-test-{raw}"),
        format!("Bearer {raw}"),
        format!("Bearer {}", key("cd").bearer()),
    ] {
        assert!(keys.verify_bearer(&shown), "{shown}");
    }
    for shown in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer undefined".to_owned(),
        "Bearer signkey-prod-".to_owned(),
        format!("Basic {hash}"),
        hash.to_owned(),
        format!("Bearer {}", &hash[1..]),
        format!("Bearer {hash}0"),
        format!("Bearer {}", key("ef").bearer()),
        format!("Bearer signkey--{hash}"),
    ] {
        assert!(!keys.verify_bearer(&shown), "{shown}");
        assert!(!Keys::default().verify_bearer(&shown), "{shown}");
    }
}

#[test]
fn a_key_is_hexadecimal_behind_its_prefix() {
    assert_eq!(
        SigningKey::parse("signkey-branch-AB01").unwrap().bearer(),
        "signkey-branch-a61df51f631f44da66aeaeb67cceec39d04812efe5c8246aacb70c780198bb2b"
    );
    for text in ["", "signkey-prod-", "signkey-prod-abc", "signkey-my-branch-ab", "signkey-prod-xy", "ab cd", "éé"] {
        assert_eq!(SigningKey::parse(text).err(), Some(InvalidSigningKey), "{text}");
    }
}

#[test]
fn debug_does_not_show_a_key() {
    let shown = format!("{:?}", keys(&["ab", "cd"]));
    assert!(!shown.contains("abab") && !shown.contains("cdcd") && !shown.contains("9a2d"), "{shown}");
}

#[test]
fn a_response_is_verified_by_any_key_within_five_minutes() {
    let body = r#"{"b":1, "a":2}"#;
    let header = keys(&["ab"]).sign(Payload::Text(body), T);
    assert!(keys(&["cd", "ab"]).verify_signature(&header, body, T), "a key that is being rotated out");
    assert!(!keys(&["cd"]).verify_signature(&header, body, T), "another key");
    assert!(!keys(&["ab"]).verify_signature(&header, r#"{"a":2,"b":1}"#, T), "another body");
    for (now, good) in [(T - 301, false), (T - 300, true), (T + 300, true), (T + 301, false), (i64::MAX, false)] {
        assert_eq!(keys(&["ab"]).verify_signature(&header, body, now), good, "{now}");
    }
    assert!(!Keys::default().verify_signature(&header, body, T));
}

#[test]
fn what_is_no_signature_verifies_nothing() {
    let keys = keys(&["ab"]);
    let good = keys.sign(Payload::Empty, T);
    let tag = good.split_once("&s=").unwrap().1;
    assert!(keys.verify_signature(&good, "", T) && keys.verify_signature(&format!("s={tag}&t={T}"), "", T));
    for header in [
        String::new(),
        format!("t={T}"),
        format!("s={tag}"),
        format!("t={T}&s="),
        format!("t=&s={tag}"),
        format!("t=now&s={tag}"),
        format!("t={}&s={tag}", T + 1),
        format!("t={T}&s={}", &tag[..62]),
        format!("t={T}&s=zz{}", &tag[2..]),
        Keys::default().sign(Payload::Empty, T),
    ] {
        assert!(!keys.verify_signature(&header, "", T), "{header}");
    }
}

proptest! {
    #[test]
    fn the_order_of_members_and_the_spaces_between_do_not_matter(a: f64, b: i64, text in ".{0,20}") {
        let keys = keys(&["ab"]);
        let (a, b, text) = (json!(a).to_string(), b.to_string(), json!(text).to_string());
        let one = keys.signature_header("POST", &format!(r#"{{"a":{a},"b":{b},"text":{text}}}"#), T);
        let other = keys.signature_header("POST", &format!(r#" {{ "text" : {text}, "b":{b} ,"a": {a}}}"#), T);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn nothing_makes_it_panic(text in ".{0,60}", near in "(Bearer )?(signkey-)?[a-f0-9-]{0,20}(&[ts]=[0-9a-f-]{0,70}){0,3}", now: i64) {
        let keys = keys(&["ab"]);
        for text in [&text, &near] {
            prop_assert!(!keys.verify_bearer(text));
            prop_assert!(!keys.verify_signature(text, text, now));
            let header = keys.signature_header("POST", text, now);
            prop_assert_eq!(header.len(), format!("t={now}&s=").len() + 64);
            if let Ok(key) = SigningKey::parse(text) {
                let bearer = format!("Bearer {}", key.bearer());
                prop_assert!(Keys::new(vec![key]).verify_bearer(&bearer));
            }
        }
    }

    #[test]
    fn a_canonical_form_says_the_same(number: f64, text in ".{0,20}") {
        let value = json!({"b": [number, null], "a": {"text": text}});
        let canonical = super::canonical(&value).unwrap();
        let read: Value = serde_json::from_slice(&canonical).unwrap();
        prop_assert_eq!(super::canonical(&read), Some(canonical));
        prop_assert_eq!(&read["a"], &value["a"]);
    }
}
