//! What expressions mean, a line each, and that none of them runs away.

use cel::parser::PrattParser;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Program;

fn holds(expression: &str, event: &Value, came: &Value) -> bool {
    let program = Program::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    program.holds(event, came)
}

/// The request and the event that the tables are about.
fn facts() -> (Value, Value) {
    let event = json!({
        "name": "inngest/http.request",
        "data": { "method": "GET", "userId": "u1", "amount": 10, "nothing": null, "ids": [1, 2] },
    });
    let came = json!({
        "id": "e1", "name": "paid", "ts": 5,
        "user": { "role": "admin" },
        "data": {
            "userId": "u1", "amount": 10, "rate": 10.0, "half": 0.5, "minus": -1, "large": 18_446_744_073_709_551_615_u64,
            "zero": 0, "empty": "", "text": "abc", "yes": true, "no": false, "nothing": null,
            "ids": [1, 2], "floats": [1.0, 2.0], "none": [], "object": {}, "a b": 7,
            "items": [{ "id": 1, "tags": ["x"] }, { "id": 2.5 }, {}, 7, null],
        },
    });
    (event, came)
}

#[track_caller]
fn check(holding: &[&str], failing: &[&str]) {
    let (event, came) = facts();
    for expression in holding {
        assert!(holds(expression, &event, &came), "must hold: {expression}");
    }
    for expression in failing {
        assert!(!holds(expression, &event, &came), "must not hold: {expression}");
    }
}

#[test]
fn what_is_missing_is_null() {
    check(
        &[
            "async.data.missing == null",
            "async.missing.deeper.still == null",
            "async.data.text.field == null",
            "async.data.ids.field == null",
            "async.data.ids[7] == null",
            "async.data.ids[-1] == null",
            "async.data.ids['0'] == null",
            "async.data['missing'] == null",
            "async.data.amount[0] == null",
            "async.data[0] == null",
            "async.data.items[2].id == null",
            "async.data.nothing == null",
            "async.data.nothing.deeper == null",
            "async.data[async.data.text] == null",
            "{'a': 1}.b == null",
            "{'a': 1}['b'].c == null",
            "[1][3] == null",
            "null == null",
            "event.data.missing == async.data.missing",
            "async.data['a b'] == 7",
            "async.data.ids[1] == 2",
            "async.data[event.data.userId + 'x'] == null",
            "async.data['user' + 'Id'] == event.data.userId",
            ".async.data.amount == .event.data.amount",
        ],
        &[
            "async.data.missing",
            "async.data.missing == async.data.amount",
            "async.data.ids[0] == null",
            "unknown == null",
        ],
    );
}

#[test]
fn a_field_that_both_must_have_alike_also_matches_where_both_have_none() {
    let expression = "event.data.userId == async.data.userId";
    let with = |user: Value| json!({ "data": { "userId": user } });
    let without = json!({ "data": {} });
    assert!(holds(expression, &without, &without));
    assert!(holds(expression, &json!({}), &Value::Null));
    assert!(holds(expression, &without, &with(Value::Null)));
    assert!(holds(expression, &with(json!("1")), &with(json!("1"))));
    assert!(!holds(expression, &with(json!("1")), &without));
    assert!(!holds(expression, &without, &with(json!("1"))));
    assert!(!holds(expression, &with(json!("1")), &with(json!("2"))));
    assert!(!holds(expression, &with(json!("1")), &with(json!(1))));
    assert!(holds(expression, &with(json!(1)), &with(json!(1.0))));
}

#[test]
fn null_equals_nothing_else_and_unlike_things_differ() {
    check(
        &[
            "async.data.missing != async.data.amount",
            "null != 0",
            "null != ''",
            "null != false",
            "'1' != 1",
            "true != 1",
            "async.data.ids != async.data.object",
            "!(async.data.missing == 0)",
            "async.data.ids == event.data.ids",
            "async.data.object == {}",
        ],
        &[
            "null == 0",
            "null == ''",
            "null == false",
            "'1' == 1",
            "true == 1",
            "null != null",
            "[] == {}",
            "[null] == [0]",
        ],
    );
}

#[test]
fn numbers_compare_as_numbers() {
    check(
        &[
            "async.data.amount == 10",
            "async.data.amount == 10.0",
            "async.data.amount == 10u",
            "async.data.rate == 10",
            "async.data.rate == event.data.amount",
            "async.data.half < 1",
            "1 > async.data.half",
            "async.data.amount >= 9.5",
            "async.data.minus < 0u",
            "async.data.large > 1",
            "async.data.large == 18446744073709551615u",
            "async.data.floats == async.data.ids",
            "1.0 in async.data.ids",
            "async.data.amount in [10.0]",
            "async.data.amount + 1 == 11",
        ],
        &["async.data.amount == 11", "async.data.half > 1", "async.data.minus > 0u", "async.data.amount == '10'"],
    );
}

#[test]
fn what_has_no_order_is_neither_less_nor_greater() {
    for operator in ["<", "<=", ">", ">="] {
        for (left, right) in [
            ("async.data.missing", "3"),
            ("3", "async.data.missing"),
            ("null", "null"),
            ("async.data.missing", "event.data.missing"),
            ("async.data.text", "3"),
            ("'1'", "1"),
            ("true", "1"),
            ("async.data.ids", "async.data.ids"),
            ("async.data.object", "1"),
        ] {
            let compared = format!("{left} {operator} {right}");
            check(&[&format!("!({compared})")], &[&compared]);
        }
    }
    check(
        &["'a' < 'b'", "async.data.text >= 'abc'", "false < true", "3 <= 3.0", "b'a' < b'b'"],
        &["'b' < 'a'", "async.data.text > 'abc'", "true < false", "4 <= 3.0", "b'b' < b'a'"],
    );
}

#[test]
fn any_value_can_be_a_condition() {
    let truthy =
        ["true", "1", "-1", "0.5", "1u", "'false'", "[]", "{}", "async.data.none", "async.data.object", "b'x'"];
    let falsy = ["false", "0", "0.0", "0u", "''", "null", "b''", "async.data.missing", "async.data.nothing"];
    for value in truthy {
        check(
            &[
                &format!("{value} && true"),
                &format!("true && {value}"),
                &format!("{value} || false"),
                &format!("!(!{value})"),
                &format!("{value} ? true : false"),
                &format!("!{value} == false"),
                &format!("[1].exists(n, {value})"),
                &format!("[1].filter(n, {value}) == [1]"),
            ],
            &[&format!("!{value}")],
        );
    }
    for value in falsy {
        check(
            &[
                &format!("!{value}"),
                &format!("{value} || true"),
                &format!("{value} ? false : true"),
                &format!("({value} && 1 / 0 == 1) == false"),
                &format!("[1].filter(n, {value}) == []"),
                &format!("!([1].all(n, {value}))"),
            ],
            &[
                &format!("{value} && true"),
                &format!("true && {value}"),
                &format!("{value} || false"),
                &format!("[1].exists_one(n, {value})"),
            ],
        );
    }
    check(&["(async.data.missing ? 1 : 2) == 2", "(async.data.yes ? 'a' : null) && async.data.amount"], &[]);
}

#[test]
fn only_true_itself_is_a_match() {
    check(
        &["true", "async.data.yes", "async.data.no == false", "async.data.text && 1", "has(async.data.text)"],
        &[
            "async.data.text",
            "1",
            "'true'",
            "async",
            "async.data.amount",
            "null",
            "[true]",
            "async.data.yes ? 1 : 0",
            "async.data.no",
        ],
    );
}

#[test]
fn has_tells_what_is_there() {
    check(
        &[
            "has(async.data.text)",
            "has(async.data.nothing)",
            "has(async.user.role)",
            "!has(async.data.missing)",
            "!has(async.missing.deeper)",
            "!has(async.data.text.field)",
            "!has(async.data.items[0].name)",
            "has(async.data.items[0].id)",
            "async.data.items.exists(i, has(i.tags))",
            "!async.data.items.exists(i, has(i.missing))",
            "has({'a': null}.a)",
            "!has({'a': 1}.b)",
        ],
        &["has(async.data.missing)", "has(event.data.text)"],
    );
}

#[test]
fn loops_walk_what_is_there() {
    check(
        &[
            "async.data.items.exists(i, i.id == 1)",
            "async.data.items.exists(i, i.id > 2)",
            "async.data.items.exists(i, i.id == null)",
            "async.data.items.exists(i, i.tags[0] == 'x')",
            "!async.data.items.all(i, i.id < 100)",
            "async.data.ids.all(i, i > 0)",
            "async.data.ids.all(i, i in event.data.ids)",
            "async.data.items.exists_one(i, i.id == 2.5)",
            "async.data.items.map(i, i.id)[1] == 2.5",
            "async.data.items.filter(i, i.id).size() == 2",
            "async.data.ids.map(i, i > 1, i * 10) == [20]",
            "async.data.none.all(i, false)",
            "async.user.exists(key, key == 'role' && async.user[key] == 'admin')",
            "[{'async': 3}].exists(async, async.async == 3)",
            "['x'].exists(event, event == 'x') && event.data.method == 'GET'",
            "[1, 2].exists(a, [2].exists(b, a == b && async.data.amount == 10))",
            "[1, 0].exists(n, 1 / n == 1)",
            "[0, 1].exists(n, 1 / n == 1)",
        ],
        &["async.data.none.exists(i, true)", "async.data.missing.exists(i, true)", "async.data.missing.all(i, true)"],
    );
}

#[test]
fn cels_own_functions_and_errors_stay() {
    check(
        &[
            "async.data.text.startsWith('ab')",
            "async.data.text.matches('^a.c$')",
            "size(async.data.ids) == 2",
            "string(async.data.amount) == '10'",
            "async.data.userId in ['u1', 'u2']",
            "'role' in async.user",
            "1 / 0 == 1 || true",
            "async.data.missing.startsWith('a') || async.data.yes",
            "type(async.data.amount) == int",
        ],
        &[
            "1 / 0 == 1",
            "async.data.missing.startsWith('a')",
            "!async.data.missing.startsWith('a')",
            "unknown",
            "unknown(1)",
            "async.data.amount + async.data.missing == 10",
            "9223372036854775807 + 1 > 0",
        ],
    );
}

#[test]
fn what_rewriting_adds_cannot_be_written() {
    for expression in ["@get(async, 'id') == 'e1'", "@value0 == null", "@has0", "a.@get", ""] {
        assert!(Program::compile(expression).is_err(), "{expression}");
    }
}

#[test]
fn nesting_never_takes_the_stack() {
    let deep = [
        format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000)),
        "(".repeat(4_000),
        format!("{}true", "!".repeat(4_000)),
        format!("{}1", "-".repeat(4_000)),
        format!("{}true", "!(".repeat(1_300)) + &")".repeat(1_300),
        format!("{}1", "!-".repeat(2_000)),
        format!("{}{}", "[".repeat(2_000), "]".repeat(2_000)),
        "[".repeat(4_000),
        "{".repeat(4_000),
        format!("{}1{}", "{1:".repeat(1_000), "}".repeat(1_000)),
        format!("async{}", ".a".repeat(2_000)),
        format!("async{}", "[0]".repeat(1_300)),
        format!("has(async{})", ".a".repeat(2_000)),
        format!("a{}", ".a".repeat(2_000)),
        format!("a{}", "[0]".repeat(1_300)),
        format!("1{}", "+1".repeat(2_000)),
        format!("1{}", "==1".repeat(1_300)),
        format!("1{}", ".f()".repeat(1_000)),
        format!("{}1{}", "f(".repeat(1_300), ")".repeat(1_300)),
        format!("true{}", " && true".repeat(500)),
        format!("{}1", "a?b:".repeat(1_000)),
        format!("{}1{}", "a?".repeat(1_000), ":b".repeat(1_000)),
        format!("[1]{}", ".map(x,x)".repeat(450)),
        format!("{}1{}", "[1].map(x,".repeat(350), ")".repeat(350)),
        format!("{}a.b{}", "has(".repeat(800), ")".repeat(800)),
        "a{".repeat(2_000),
        format!("{}1", "x?[".repeat(60)),
        format!("has(async{})", ".a".repeat(511)),
        format!("async{}", "[0]".repeat(512)),
        format!("1{}", "+1".repeat(512)),
        format!("1{}", ".f()".repeat(256)),
        format!("{}{}", "(".repeat(256), ")".repeat(256)),
    ];
    // Half of what a thread of a test or of a runtime has: it is called from somewhere.
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let done = small.spawn(move || {
        for expression in deep {
            let held = Program::compile(&expression).is_ok_and(|program| program.holds(&Value::Null, &Value::Null));
            let trivial = expression.starts_with("((") || expression.starts_with("!!") || expression.contains("&&");
            assert!(!held || trivial, "{}", &expression[..20]);
        }
    });
    done.unwrap().join().unwrap();
}

#[test]
fn as_deep_as_it_may_be_it_is_evaluated_on_a_small_stack() {
    let shapes: [fn(usize) -> String; 6] = [
        |depth| format!("{}true{}", "[".repeat(depth), "][0]".repeat(depth)),
        |depth| format!("1{} > 0", " + 1".repeat(depth)),
        |depth| format!("'a'{}.startsWith('a')", ".replace('a')".repeat(depth)),
        |depth| format!("{}async.data.yes{}", "[1].exists(x, ".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}1{} == 1", "int(".repeat(depth), ")".repeat(depth)),
        |depth| format!("{}true{}", "(true && ".repeat(depth), ")".repeat(depth)),
    ];
    let small = std::thread::Builder::new().stack_size(1536 * 1024);
    let done = small.spawn(move || {
        let (event, came) = facts();
        for shape in shapes {
            let fits = |depth: &usize| Program::compile(&shape(*depth)).is_ok();
            let deepest = (1..100).take_while(fits).last().unwrap();
            assert!((3..99).contains(&deepest), "{deepest}");
            // Whatever it gives, it comes back.
            Program::compile(&shape(deepest)).unwrap().holds(&event, &came);
        }
    });
    done.unwrap().join().unwrap();
}

#[test]
fn no_loop_runs_away() {
    let nested = |depth: usize| {
        let forty = format!("[1{}]", ", 1".repeat(39));
        format!("{}true{}", format!("{forty}.all(x, ").repeat(depth), ")".repeat(depth))
    };
    assert!(holds(&nested(2), &Value::Null, &Value::Null));
    assert!(!holds(&nested(6), &Value::Null, &Value::Null), "it would walk four thousand million");
    let negated = format!("!{}", nested(6));
    assert!(!holds(&negated, &Value::Null, &Value::Null), "what takes too long is neither true nor false");
    let absorbed = format!("{} || true", nested(6));
    assert!(holds(&absorbed, &Value::Null, &Value::Null), "as with any error");
    // Each loop makes what the next one walks larger.
    let lists = format!("[x{}]", ", x".repeat(39));
    let maps = format!("{{'a': [x{}], 'b': x}}", ", x".repeat(30));
    for grow in [lists, maps] {
        let growing = |times| format!("['{}']{}.size() > 0", "a".repeat(500), format!(".map(x, {grow})").repeat(times));
        assert!(holds(&growing(2), &Value::Null, &Value::Null), "{grow}");
        assert!(!holds(&growing(6), &Value::Null, &Value::Null), "{grow}");
    }
    let many = json!({ "items": (0..5_000).collect::<Vec<_>>() });
    assert!(holds("async.items.exists(i, i == 4999)", &Value::Null, &many));
    assert!(!holds("async.items.all(i, async.items.exists(j, i == j))", &Value::Null, &many));
}

#[test]
fn a_loops_variable_is_charged_for_wherever_it_is_named() {
    let came = json!({ "items": (0..30_000).collect::<Vec<_>>(), "text": "z".repeat(200_000), "few": [1, 2, 3] });
    for expression in [
        "[async.items].all(x, x.all(y, x == x))",
        "[async.items].all(x, x.all(y, (x + x).size() > 1))",
        "[async.items].all(x, x.all(y, y in x))",
        "[async.text].all(x, async.items.all(y, !x.contains('zq')))",
    ] {
        assert!(!holds(expression, &Value::Null, &came), "{expression}");
    }
    assert!(holds("[async.few].all(x, x.all(y, y in x && x == x))", &Value::Null, &came));
    assert!(holds("async.items.all(y, y < 30000 && y >= 0)", &Value::Null, &came));
    assert!(holds("async.items.filter(y, y > 1).map(y, y + 1).size() == 29998", &Value::Null, &came));
}

#[test]
fn patterns_are_bounded_and_made_once() {
    let came =
        json!({ "items": vec!["abc"; 5_000], "numbers": (0..5_000).collect::<Vec<_>>(), "text": "z".repeat(200_000) });
    check(
        &[
            "async.data.text.matches('^a.c$')",
            "matches('abc', 'b')",
            "'äöü'.matches(r'^\\w{3,16}$')",
            "!'abc'.matches('^b')",
            "'a'.matches('(') || true",
        ],
        &[
            "'a'.matches('(')",
            "'a'.matches(1)",
            "1.matches('a')",
            "'a'.matches()",
            "'a'.matches('a', 'a')",
            "matches('a')",
        ],
    );
    assert!(holds("async.items.all(x, x.matches('^a.c$'))", &Value::Null, &came));
    assert!(holds("async.text.matches('z$')", &Value::Null, &came));
    for expression in [
        "'a'.matches(r'(\\w{20}){10}') || !'a'.matches(r'(\\w{20}){10}')",
        "async.numbers.all(x, 'a'.matches('a|' + string(x)))",
        "[async.text].all(x, async.items.all(y, x.matches('z$')))",
        "async.items.all(x, async.text.matches('z$'))",
    ] {
        assert!(!holds(expression, &Value::Null, &came), "{expression}");
    }
}

/// A parsed expression without the numbers of its parts.
fn shape(expression: &cel::IdedExpr) -> String {
    let text = format!("{expression:?}");
    let parts: Vec<_> =
        text.split("id: ").map(|part| part.trim_start_matches(|digit: char| digit.is_ascii_digit())).collect();
    parts.concat()
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "async.data.amount",
        "event.data['userId']",
        "async.data.ids[1]",
        "1",
        "-2",
        "3u",
        "0.5",
        "'it\\'s'",
        "\"a\\n\"",
        "r'\\d'",
        "b'x'",
        "null",
        "true",
        "async.data.missing.deeper",
        "[1, 2]",
        "{'a': 1}",
        "x",
        "has(async.data.text)",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 24, 3, |inner| {
        let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in"]);
        prop_oneof![
            4 => (inner.clone(), operator, inner.clone()).prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            1 => inner.clone().prop_map(|inner| format!("({inner})")),
            1 => inner.clone().prop_map(|inner| format!("!({inner})")),
            1 => inner.clone().prop_map(|inner| format!("-({inner})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => inner.clone().prop_map(|inner| format!("[1, 'a'].exists(x, {inner})")),
            1 => (inner.clone(), inner).prop_map(|(list, inner)| format!("({list}).filter(x, {inner})")),
        ]
    })
}

proptest! {
    #[test]
    fn it_is_read_as_cels_other_parser_reads_it(text in expression()) {
        let ours = PrattParser::new().parse(&text).unwrap();
        let theirs = cel::Program::compile(&text).unwrap();
        prop_assert_eq!(shape(&ours), shape(theirs.expression()), "{}", text);
    }

    #[test]
    fn any_expression_comes_to_an_end(text in expression()) {
        let (event, came) = facts();
        let held = Program::compile(&text).is_ok_and(|program| program.holds(&event, &came));
        let negated = Program::compile(&format!("!({text})")).is_ok_and(|program| program.holds(&event, &came));
        prop_assert!(!(held && negated), "{}", text);
    }

    #[test]
    fn any_text_comes_to_an_end(text in "[a-z0-9.()=<>!&|'\" \\[\\]{}+*/%?:,-]{0,60}") {
        let (event, came) = facts();
        let _ = Program::compile(&text).map(|program| program.holds(&event, &came));
    }
}
