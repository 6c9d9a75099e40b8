//! Texts that nobody writes, and edits of them: what was not edited stays byte for byte.

use proptest::{collection::vec, prelude::*, sample::select};
use statusquo_vmm::{
    daemon::control::{Asked, Form, Named, Request},
    domain::{Domain, tree::Limits},
    status::{Facts, State, Status},
};

use super::properties;

/// The name of an element, and its attributes.
fn start() -> impl Strategy<Value = (String, String)> {
    ("(x|q:y|_é|devices|serial|console|alias|target)", vec(attribute(), 0..4)).prop_map(
        |(name, attributes)| {
            // Each name once: the same twice is refused.
            let mut names = Vec::new();
            let attributes = attributes.into_iter().filter_map(|(name, text)| {
                (!names.contains(&name)).then(|| names.push(name))?;
                Some(text)
            });
            (name, attributes.collect::<String>())
        },
    )
}

/// Elements, attributes in both kinds of quotes, namespaces, texts, references, CDATA, comments, instructions.
fn content() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[ a-zé☃\t\n]{0,8}",
        select(vec!["&lt;", "&amp;", "&#10;", "&#x2603;", "\r\n", "\u{a0}", "&quot;'\""])
            .prop_map(str::to_owned),
        "[ a-z<>&é\n]{0,8}".prop_map(|text| format!("<![CDATA[{text}]]>")),
        "[ a-z<>&'é\n]{0,8}".prop_map(|text| format!("<!--{text}-->")),
        "[a-w]{1,4}( [ -=@-~é]{0,8})?".prop_map(|text| format!("<?{text}?>")),
        start().prop_map(|(name, attributes)| format!("<{name}{attributes}/>")),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        (start(), vec(inner, 0..5), select(vec!["", " ", "\n\t"])).prop_map(
            |((name, attributes), content, blank)| {
                format!("<{name}{attributes}{blank}>{}</{name}{blank}>", content.concat())
            },
        )
    })
}

/// A name, and how it is written.
fn attribute() -> impl Strategy<Value = (String, String)> {
    let lead = select(vec![" ", "\n  ", "\t", "  "]);
    let equals = select(vec!["=", " = ", "=\n"]);
    let name = "(type|port|q:a|xmlns:q|xmlns|xml:lang|ü|name)";
    let value = "([ a-z0-9é>\n]|&lt;|&#9;|&apos;){0,6}";
    (lead, name, equals, any::<bool>(), value).prop_map(|(lead, name, equals, double, value)| {
        let quote = if double { '"' } else { '\'' };
        let text = format!("{lead}{name}{equals}{quote}{value}{quote}");
        (name, text)
    })
}

/// Devices of known classes, with whatever in them.
fn device() -> impl Strategy<Value = String> {
    let class = select(vec![
        "serial",
        "console",
        "channel",
        "rng",
        "disk",
        "controller",
        "interface",
        "hub",
    ]);
    (class, "( type='[a-z]{0,5}')?", vec(content(), 0..3))
        .prop_map(|(class, kind, content)| format!("<{class}{kind}>{}</{class}>", content.concat()))
}

/// A definition, whose devices stand in lines of their own or do not.
fn definition() -> impl Strategy<Value = String> {
    let device = prop_oneof![2 => device(), 1 => content()];
    let separator = select(vec!["", "\n    ", "\n"]);
    let around = "(<!-- [a-z]{0,5} -->\n)?";
    (around, vec(content(), 0..3), vec((separator, device), 1..6), select(vec!["", "\n  "]), vec(content(), 0..2))
        .prop_map(|(around, before, devices, blank, after)| {
            let devices: String =
                devices.into_iter().map(|(separator, device)| separator.to_owned() + &device).collect();
            format!(
                "{around}<domain type='qemu'>{}<name>demo</name><uuid>u</uuid>\n  <devices>{devices}{blank}</devices>{}</domain>\n{around}",
                before.concat(),
                after.concat()
            )
        })
}

/// Is `long` what `short` is, with something put in at one place?
fn is_inserted(short: &str, long: &str) -> bool {
    let ahead = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    let behind = short.bytes().rev().zip(long.bytes().rev()).take_while(|(a, b)| a == b).count();
    short.len() <= long.len() && ahead + behind >= short.len()
}

/// `short`, with the empty element opened into which something was put.
fn opened(short: &str, long: &str) -> String {
    let ahead = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    let name = short[..ahead].rsplit('<').next().unwrap_or_default();
    let name = name.split_whitespace().next().unwrap_or_default();
    match short[ahead..].strip_prefix("/>") {
        Some(rest) if long[ahead..].starts_with('>') => {
            format!("{}></{name}>{rest}", &short[..ahead])
        }
        _ => short.to_owned(),
    }
}

#[test]
fn an_empty_element_is_opened_where_something_is_put_into_it() {
    assert_eq!(opened("<a><b c='1'/></a>", "<a><b c='1'><d/></b></a>"), "<a><b c='1'></b></a>");
    assert_eq!(opened("<a><b/></a>", "<a><b/><d/></a>"), "<a><b/></a>");
}

/// A generated definition once had its first `<devices>` empty, and a second that was not read.
#[test]
fn every_devices_element_is_read_and_an_empty_one_can_be_added_to() {
    let text = "<domain type='qemu'><devices/><name>demo</name><uuid>u</uuid>\n  <devices><serial></serial></devices></domain>\n";
    let mut domain = Domain::parse(text).unwrap();
    assert_eq!(domain.devices().count(), 1);
    domain.add_device("<serial><alias/></serial>").unwrap();
    let second =
        text.replace("</serial></devices>", "</serial><serial><alias/></serial></devices>");
    assert_eq!(domain.to_xml(), second, "beside the other of its class");
    domain.add_device("<rng/>").unwrap();
    assert_eq!(domain.to_xml(), second.replace("<devices/>", "<devices><rng/></devices>"));
}

#[test]
fn an_insertion_is_told_from_a_change() {
    assert!(is_inserted("ab", "axxb") && is_inserted("ab", "ab") && is_inserted("aa", "aaa"));
    assert!(!is_inserted("ab", "axby") && !is_inserted("ab", "a") && !is_inserted("abc", "axc"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_read_is_written(text in definition()) {
        let domain = Domain::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(domain.to_xml(), &text[..]);
        let again = Domain::parse(&domain.to_xml()).unwrap();
        prop_assert!(domain.document().same(domain.root(), again.document(), again.root()));
        prop_assert_eq!(again.to_xml(), text);
    }

    /// A device that comes is put in at one place, and one that goes is cut out of one; in between, all is as it was.
    #[test]
    fn an_edit_is_at_one_place(text in definition(), added in device(), at in any::<prop::sample::Index>()) {
        let mut domain = Domain::parse(&text).unwrap();
        prop_assume!(domain.devices_node().is_some());
        let node = domain.add_device(&added).unwrap();
        let with = domain.to_xml();
        let text = opened(&text, &with);
        prop_assert!(is_inserted(&text, &with), "{text}\n{with}");
        prop_assert_eq!(domain.device(node).unwrap().to_xml(), added);
        prop_assert_eq!(Domain::parse(&with).unwrap().to_xml(), &with[..]);
        domain.remove_device(node);
        let without = domain.to_xml();
        prop_assert!(is_inserted(&without, &with));
        // Blanks may go or stay with it, and nothing else.
        let significant = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(significant(&without), significant(&text));
        let nodes: Vec<_> = domain.devices().map(|device| device.node).collect();
        if !nodes.is_empty() {
            let gone = nodes[at.index(nodes.len())];
            let xml = domain.device(gone).unwrap().to_xml();
            domain.remove_device(gone);
            prop_assert!(is_inserted(&domain.to_xml(), &without), "{xml}\n{without}\n{}", domain.to_xml());
        }
    }

    #[test]
    fn whatever_is_read_can_be_completed_or_says_where_it_cannot(text in definition()) {
        properties::domain(text.as_bytes());
    }

    #[test]
    fn a_status_keeps_its_facts_and_its_definition(
        text in definition(),
        pid in 1..=u32::MAX,
        started in any::<Option<u64>>(),
        words in vec("[ -~\t\né☃]{0,12}", 5),
        state in select(vec![State::Starting, State::Running, State::Paused, State::Stopping, State::Crashed]),
        intents in vec(device(), 0..3),
    ) {
        let domain = Domain::parse(&text).unwrap();
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap();
        let facts = Facts {
            pid, started, state, boot: word(), reason: word(), monitor: word(), program: word(), qemu: word(),
        };
        let mut status = Status::new(&facts, &domain).unwrap();
        for intent in &intents {
            status.add_intent(&format!("<attach>{intent}</attach>")).unwrap();
        }
        let written = status.to_xml();
        let read = Status::parse(&written).unwrap();
        prop_assert_eq!(read.to_xml(), &written[..]);
        prop_assert_eq!(read.facts().unwrap(), facts);
        prop_assert!(domain.document().same(domain.root(), read.document(), read.domain().root()), "{text}\n{written}");
        let kept: Vec<_> = read.intents().map(|intent| read.document().fragment(intent)).collect();
        let meant: Vec<_> = intents.iter().map(|intent| format!("<attach>{intent}</attach>")).collect();
        prop_assert_eq!(kept, meant);
        properties::status(written.as_bytes());
    }

    #[test]
    fn no_bytes_are_read_without_a_place_for_what_is_wrong(
        bytes in vec(any::<u8>(), 0..200),
        text in definition(),
        at in any::<prop::sample::Index>(),
    ) {
        properties::domain(&bytes);
        properties::status(&bytes);
        // In the middle of what is right.
        let at = at.index(text.len());
        let mut spoilt = text.as_bytes()[..at].to_vec();
        spoilt.extend(&bytes[..bytes.len().min(4)]);
        spoilt.extend(&text.as_bytes()[at..]);
        properties::domain(&spoilt);
        properties::status(&spoilt);
        let whole = text.find("</domain>").unwrap();
        prop_assert!(Domain::parse_bytes(&text.as_bytes()[..at.min(whole)], Limits::default()).is_err());
    }

    #[test]
    fn no_line_of_the_control_socket_is_read_without_a_place_for_what_is_wrong(
        bytes in vec(any::<u8>(), 0..100),
        id in any::<u64>(),
        xml in definition(),
        which in 0..4usize,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let domain = "demo".to_owned();
        let request = match which {
            0 => Request::Define { xml },
            1 => Request::Attach { domain, xml },
            2 => Request::Detach { domain, device: Named::Xml(xml) },
            _ => Request::Dump { domain, form: Form::Migratable },
        };
        let asked = Asked { id, request };
        let line = serde_json::to_vec(&asked).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Asked>(&line).unwrap(), &asked);
        let at = at.index(line.len());
        let mut spoilt = line.clone();
        spoilt[at] = byte;
        // A line has one end.
        let in_line = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != b'\n').copied().collect::<Vec<u8>>();
        let (bytes, spoilt) = (in_line(&bytes), in_line(&spoilt));
        for wrong in [&bytes[..], &line[..at], &spoilt] {
            if let Err(error) = serde_json::from_slice::<Asked>(wrong) {
                // A column of 0 is before the first byte: the line is empty.
                prop_assert!(error.line() >= 1 && (error.column() >= 1 || wrong.is_empty()), "{error}");
                prop_assert!(error.to_string().contains("at line "), "{error}");
            }
        }
    }
}
