use proptest::prelude::*;

use super::*;

/// Everything XML has, written as nobody would.
const ODD: &str = "\u{feff}<?xml version=\"1.0\" encoding='utf-8'?>\r\n<!-- before -->\n<?target data?>\n\
<a  x = 'one'\n\ty=\"t&apos;wo\"   xmlns:q='urn:q' ><b/><b ></b ><q:c q:d=''/>text &amp; &#x41;&#66;\r\n\
<![CDATA[<raw> & ]] >]]><!----><x xmlns='urn:x'><y/></x>\n  <é ü='ö'/></a >\n<!-- after -->\n";

#[test]
fn what_was_not_edited_comes_out_byte_for_byte() {
    assert_eq!(Document::parse(ODD).unwrap().to_xml(), ODD);
}

#[test]
fn names_values_and_texts_are_read() {
    let document = Document::parse(ODD).unwrap();
    let root = document.root();
    assert_eq!(document.name(root), "a");
    assert_eq!(document.attribute(root, "x").unwrap(), "one");
    assert_eq!(document.attribute(root, "y").unwrap(), "t'wo");
    assert_eq!(document.attribute(root, "z"), None);
    assert_eq!(document.text(root), "text & AB\n<raw> & ]] >\n  ");
    let names: Vec<_> = document.children(root).map(|id| document.name(id)).collect();
    assert_eq!(names, ["b", "b", "q:c", "x", "é"]);
    let foreign = document.children(root).nth(3).unwrap();
    assert!(!document.is(foreign, "x") && document.is(root, "a"));
    assert_eq!(document.namespace(foreign).unwrap(), "urn:x");
    assert_eq!(document.namespace(document.children(root).nth(2).unwrap()).unwrap(), "urn:q");
    assert_eq!(document.namespace(root), None);
    assert_eq!(document.path(document.children(root).nth(1).unwrap()), "/a/b[2]");
    assert_eq!(document.path(document.children(foreign).next().unwrap()), "/a/x/y");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    assert_eq!(Document::parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn errors_have_line_column_and_xpath() {
    check_error("", "line 1, column 1, /: the document has no element");
    check_error(
        "<a>\n <b>\n  <c>\n </b>\n</a>",
        "line 4, column 2, /a/b/c: ill-formed document: expected `</c>`, but `</b>` was found",
    );
    check_error("<a>\n <b/>\n <b>", "line 3, column 5, /a/b[2]: `</b>` is missing");
    check_error("<a/><b/>", "line 1, column 5, /: content after or before the root element");
    check_error(
        "\u{feff}\u{feff}m",
        "line 1, column 2, /: content after or before the root element",
    );
    check_error("<a/>\n text", "line 2, column 2, /: content after or before the root element");
    check_error(
        "<a>&lol;</a>",
        "line 1, column 4, /a: entity `&lol;` is not defined: only lt, gt, amp, apos, quot and &#…; are",
    );
    check_error(
        "<a é='&lol;'/>",
        "line 1, column 7, /: entity `&lol;` is not defined: only lt, gt, amp, apos, quot and &#…; are",
    );
    check_error("<a x='1' y='2'\n x='3'/>", "line 2, column 2, /: attribute `x` is given twice");
    check_error("<a x='1'y='2'/>", "line 1, column 9, /: a blank is missing before an attribute");
    check_error("<a x/>", "line 1, column 5, /: attribute `x` has no value");
    check_error("<a x=1/>", "line 1, column 6, /: the value of `x` is not in quotes");
    check_error("<a x='<'/>", "line 1, column 7, /: `<` in a value must be written `&lt;`");
    check_error("<a><1/></a>", "line 1, column 4, /a: `1` is not a name");
    check_error("<a>]]></a>", "line 1, column 4, /a: `]]>` must be written `]]&gt;`");
    check_error("<a>\u{1}</a>", "line 1, column 4, /: character U+0001 is not allowed in XML");
    check_error("<a>&#0;</a>", "line 1, column 4, /a: character U+0000 is not allowed in XML");
    check_error(
        "<a>\n<?xml version='1.0'?></a>",
        "line 2, column 1, /a: the XML declaration is not first",
    );
    check_error(
        "<?xml version='1.0' encoding='latin1'?><a/>",
        "line 1, column 1, /: encoding `latin1` is not supported: save the file as UTF-8",
    );
    check_error(
        "<!DOCTYPE a [<!ENTITY lol 'lol'>]><a>&lol;</a>",
        "line 1, column 1, /: document types are refused, because entities could expand without bound: remove it",
    );
}

#[test]
fn invalid_utf8_is_refused_with_its_place() {
    let error = Document::parse_bytes(b"<a>\n<b x='\xff'/></a>", Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 7, /: byte 0xff is not UTF-8: save the file as UTF-8"
    );
}

#[test]
fn limits_hold() {
    let limits = Limits { bytes: 100, depth: 3, nodes: 9, attributes: 2, attribute_bytes: 5 };
    let problem = |text: &str| Document::parse_with(text, limits).unwrap_err().problem;
    assert_eq!(problem(&format!("<a x='{}'/>", "y".repeat(100))), Problem::TooLarge(100));
    assert_eq!(problem("<a><b><c><d/></c></b></a>"), Problem::TooDeep(3));
    assert_eq!(problem("<a><b/><b/><b/><b/><b/><b/><b/><b/><b/></a>"), Problem::TooManyNodes(9));
    assert_eq!(problem("<a b='' c='' d=''/>"), Problem::TooManyAttributes(2));
    let too_long = Problem::AttributeTooLong { name: "b".into(), limit: 5 };
    assert_eq!(problem("<a b='123456'/>"), too_long);
    assert!(Document::parse_with("<a b='12345' c=''><b><c/></b></a>", limits).is_ok());
}

/// Gives bytes for ever, and counts them.
struct Endless<'a>(&'a mut usize);

impl std::io::Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'x');
        if *self.0 == 0 {
            buffer[..6].copy_from_slice(b"<a b='");
        }
        *self.0 += buffer.len();
        assert!(*self.0 < 64 << 20, "read beyond the limit");
        Ok(buffer.len())
    }
}

#[test]
fn an_endless_attribute_is_not_read_beyond_the_limit() {
    let mut taken = 0;
    let error = Document::read(Endless(&mut taken), Limits::default()).unwrap_err();
    assert_eq!(error.problem, Problem::TooLarge(16 << 20));
    assert!(taken <= (16 << 20) + 1, "{taken} bytes");
}

#[test]
fn nesting_never_overflows_the_stack() {
    let deep = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    let error = Document::parse(&deep(100_000)).unwrap_err();
    assert_eq!((error.problem, error.column), (Problem::TooDeep(256), 256 * 3 + 1));
    // Without the limit it is read, written and dropped all the same.
    let limits = Limits { depth: usize::MAX, ..Limits::default() };
    let text = deep(100_000);
    assert_eq!(Document::parse_with(&text, limits).unwrap().to_xml(), text);
}

#[track_caller]
fn check_edit(before: &str, edit: impl FnOnce(&mut Document), after: &str) {
    let mut document = Document::parse(before).unwrap();
    edit(&mut document);
    let written = document.to_xml();
    assert_eq!(written, after);
    // What was written is read back, and is the same.
    assert_eq!(Document::parse(&written).unwrap().to_xml(), written);
    assert_eq!(document.compacted().unwrap().to_xml(), written);
}

#[test]
fn an_edit_changes_nothing_else() {
    check_edit(
        "<a  x = \"1\"\n y='2'  ><b/> <!-- c --></a>",
        |d| {
            let root = d.root();
            d.set_attribute(root, "x", "<'\"&\n\t>").unwrap();
            d.set_attribute(root, "z", "3").unwrap();
            assert!(d.remove_attribute(root, "y") && !d.remove_attribute(root, "y"));
            assert_eq!(d.attribute(root, "x").unwrap(), "<'\"&\n\t>");
        },
        "<a  x = \"&lt;&apos;&quot;&amp;&#10;&#9;&gt;\" z='3'  ><b/> <!-- c --></a>",
    );
    check_edit(
        "<a><b/>\n</a>",
        |d| {
            let b = d.child(d.root(), "b").unwrap();
            d.set_text(b, "a < b\n").unwrap();
            assert_eq!(d.text(b), "a < b\n");
        },
        "<a><b>a &lt; b\n</b>\n</a>",
    );
}

#[test]
fn what_is_inserted_takes_the_indentation_of_its_siblings() {
    check_edit(
        "<a>\n  <b>\n    <c/>\n  </b>\n</a>\n",
        |d| {
            let b = d.child(d.root(), "b").unwrap();
            let new = d.append_xml(b, "<d e='1'/>").unwrap();
            d.append_element(new, "f").unwrap();
            let c = d.child(b, "c").unwrap();
            d.insert_xml(c, "<first/>").unwrap();
        },
        "<a>\n  <b>\n    <first/>\n    <c/>\n    <d e='1'>\n      <f/>\n    </d>\n  </b>\n</a>\n",
    );
    check_edit("<a/>", |d| drop(d.append_element(d.root(), "b")), "<a>\n  <b/>\n</a>");
    check_edit("<a><b/></a>", |d| drop(d.append_element(d.root(), "c")), "<a><b/><c/></a>");
    check_edit(
        "<a>\n  <b/>\n  <c/>\n</a>",
        |d| {
            d.remove(d.child(d.root(), "b").unwrap());
            d.remove(d.child(d.root(), "c").unwrap());
        },
        "<a></a>",
    );
}

#[test]
fn what_is_replaced_stands_where_the_old_stood() {
    check_edit(
        "<a><!-- b -->\n  <b c='1'/>text</a>",
        |d| {
            let b = d.child(d.root(), "b").unwrap();
            d.replace_xml(b, "<e>\n</e>").unwrap();
            assert!(d.replace_xml(d.root(), "<e/>").is_err());
        },
        "<a><!-- b -->\n  <e>\n</e>text</a>",
    );
}

#[test]
fn a_no_break_space_is_text() {
    check_edit(
        "<a>\u{a0}<b/>\n</a>",
        |d| {
            d.append_element(d.root(), "c").unwrap();
            d.remove(d.child(d.root(), "b").unwrap());
            d.remove(d.child(d.root(), "c").unwrap());
        },
        "<a>\u{a0}\n</a>",
    );
}

#[test]
fn a_bad_insertion_changes_nothing() {
    let mut document = Document::parse("<a>\n <b/>\n</a>").unwrap();
    for bad in [
        "",
        "text",
        "\u{feff}<c/>",
        "<c/><d/>",
        "<c>",
        "</a>",
        "<?xml version='1.0'?><c/>",
        "<!DOCTYPE c><c/>",
    ] {
        let root = document.root();
        let error = document.append_xml(root, bad).unwrap_err();
        assert_eq!((error.line, error.path.as_str()), (1, "/a"), "{bad}");
        assert_eq!(document.to_xml(), "<a>\n <b/>\n</a>");
    }
    let root = document.root();
    assert!(document.set_attribute(root, "c", "\u{1}").is_err());
    assert!(document.set_attribute(root, "c d", "").is_err());
    assert_eq!(document.to_xml(), "<a>\n <b/>\n</a>");
}

/// What a stranger may send: each is refused at its place, in little time and memory.
#[test]
fn bad_input_is_refused_at_once() {
    let refused = |text: &str| Document::parse(text).unwrap_err().to_string();
    // 100,000 levels.
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let expected =
        format!("line 1, column 769, {}: elements are nested deeper than 256", "/a".repeat(256));
    assert_eq!(refused(&deep), expected);
    // A billion laughs.
    let laughs = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]>\n<l>&b;</l>";
    assert_eq!(
        refused(laughs),
        "line 1, column 1, /: document types are refused, because entities could expand without bound: remove it"
    );
    assert_eq!(
        refused("<l>\n  <m n='&b;'/></l>"),
        "line 2, column 9, /l: entity `&b;` is not defined: only lt, gt, amp, apos, quot and &#…; are"
    );
    assert_eq!(
        refused("<l>\n <m n='1' o='' n='2'/></l>"),
        "line 2, column 16, /l: attribute `n` is given twice"
    );
    // A megabyte and one byte in an attribute.
    let long = format!("<l>\n<m n='{}'/></l>", "x".repeat((1 << 20) + 1));
    assert_eq!(
        refused(&long),
        "line 2, column 7, /l: the value of attribute `n` has more than 1048576 bytes"
    );
    let bytes = b"<l>\n<m n='\xff'/></l>";
    assert_eq!(
        Document::parse_bytes(bytes, Limits::default()).unwrap_err().to_string(),
        "line 2, column 7, /: byte 0xff is not UTF-8: save the file as UTF-8"
    );
    // A name that is a document of its own, in a message of bounded length.
    let name = format!("<l {}='1'/>", "<".repeat(1 << 20));
    assert!(refused(&name).len() < 4096);
}

/// A tree of elements, attributes and texts, written in a canonical way.
fn element() -> impl Strategy<Value = String> {
    let name = "[a-zA-Zéü_][a-z0-9:._-]{0,6}";
    let value = "[ -~\t\néü☃]{0,12}";
    let escaped = value.prop_map(|value| {
        let mut escaped = String::new();
        chars::escape_attribute(&value, &mut escaped);
        escaped
    });
    let start = (name, proptest::collection::btree_map("[a-z]{1,3}", escaped.clone(), 0..4))
        .prop_map(|(name, attributes)| {
            let attributes: String =
                attributes.iter().map(|(name, value)| format!(" {name}='{value}'")).collect();
            (name, attributes)
        });
    let leaf = prop_oneof![
        escaped,
        Just("<!-- - comment -->".to_owned()),
        Just("<?pi some data?>".to_owned()),
        Just("<![CDATA[ <&>]] ]]>".to_owned()),
        start.clone().prop_map(|(name, attributes)| format!("<{name}{attributes} />")),
    ];
    let content = leaf.prop_recursive(6, 40, 5, move |inner| {
        (start.clone(), proptest::collection::vec(inner, 0..5)).prop_map(
            |((name, attributes), content)| {
                format!("<{name}{attributes}>{}</{name}>", content.concat())
            },
        )
    });
    proptest::collection::vec(content, 0..4)
        .prop_map(|content| format!("<root>{}</root>", content.concat()))
}

proptest! {
    #[test]
    fn every_tree_survives(text in element()) {
        let document = Document::parse(&text).unwrap();
        prop_assert_eq!(document.to_xml(), text.clone());
        // Values that are set again are the same values.
        let mut edited = document.clone();
        let mut all: Vec<_> = edited.children(edited.root()).collect();
        while let Some(id) = all.pop() {
            let attributes: Vec<(String, String)> =
                edited.attributes(id).map(|(n, v)| (n.to_owned(), v.into_owned())).collect();
            for (name, value) in attributes {
                edited.set_attribute(id, &name, &value).unwrap();
                prop_assert_eq!(edited.attribute(id, &name).unwrap(), value);
            }
            all.extend(edited.children(id));
        }
        let written = edited.to_xml();
        prop_assert_eq!(Document::parse(&written).unwrap().to_xml(), written);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Document::parse_bytes(&bytes, Limits::default()));
    }

    #[test]
    fn no_markup_makes_it_panic(text in "[<>/!?&;='\" a-c\\[\\]CDATA\n#x1é-]{0,60}") {
        if let Ok(document) = Document::parse(&text) {
            prop_assert_eq!(document.to_xml(), text);
        }
    }

    #[test]
    fn what_is_cut_or_changed_never_panics(text in element(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        drop(Document::parse_bytes(&bytes[..at], Limits::default()));
        bytes[at] = byte;
        drop(Document::parse_bytes(&bytes, Limits::default()));
    }
}
