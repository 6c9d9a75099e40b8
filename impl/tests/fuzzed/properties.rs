//! What holds for every text that anybody may send. The targets in `fuzz/` assert the same.

use statusquo_vmm::{
    domain::{Domain, Emulator, Error, Reading, command_line, tree::Limits},
    status::Status,
};

/// Enough for what a fuzzer makes of its seeds, and never slow.
fn limits() -> Limits {
    Limits { bytes: 64 << 10, depth: 32, nodes: 4096, ..Limits::default() }
}

fn has_a_place(error: &Error) {
    assert!(error.line >= 1 && error.column >= 1 && error.path.starts_with('/'), "{error:?}");
    assert!(error.to_string().len() < 16 << 10, "a message that nobody reads");
}

/// Bytes as a definition. Returns whether they are one.
pub(crate) fn domain(bytes: &[u8]) -> bool {
    let domain = match Domain::parse_bytes(bytes, limits()) {
        Ok(domain) => domain,
        Err(error) => {
            has_a_place(&error);
            return false;
        }
    };
    assert_eq!(domain.to_xml().as_bytes(), bytes, "what was read is what is written");
    for reading in [Reading::Define, Reading::Load, Reading::Process] {
        completed(&domain, reading);
    }
    true
}

/// Completing, giving names and showing are fixpoints, and each result can be read.
fn completed(domain: &Domain, reading: Reading) {
    let emulator = Emulator::default();
    let mut whole = domain.clone();
    if let Err(error) = whole.complete(reading, &emulator) {
        return has_a_place(&error);
    }
    let once = whole.to_xml();
    fixpoint("complete", whole.clone(), |again| again.complete(reading, &emulator));
    // Neither limit nor grammar may be broken by what was added.
    fixpoint("post-parse", whole.clone(), Domain::post_parse);
    let mut named = whole.clone();
    let ready = named.assign_aliases().and_then(|()| named.validate());
    match ready.and_then(|()| named.mirror_console()) {
        Ok(()) => {
            fixpoint("aliases", named.clone(), Domain::assign_aliases);
            fixpoint("the console", named.clone(), Domain::mirror_console);
            if let Err(error) = command_line::arguments(&named) {
                has_a_place(&error);
            }
        }
        Err(error) => has_a_place(&error),
    }
    for shown in [whole.to_inactive(), whole.to_migratable()] {
        match shown {
            Ok(shown) => drop(Domain::parse(&shown.to_xml()).expect("what is shown can be read")),
            Err(error) => has_a_place(&error),
        }
    }
    assert_eq!(whole.to_xml(), once, "looking changes nothing");
}

/// Doing it to what it has made changes nothing, read again or not.
#[track_caller]
fn fixpoint(what: &str, made: Domain, act: impl Fn(&mut Domain) -> Result<(), Error>) {
    let mut made = made;
    // What `act` has made may be what another step has made: only from here on nothing may change.
    act(&mut made).unwrap_or_else(|error| panic!("{what}: refused its own result: {error}"));
    let once = made.to_xml();
    act(&mut made).unwrap_or_else(|error| panic!("{what}: refused its own result: {error}"));
    assert_eq!(made.to_xml(), once, "{what}: the second time changes something");
    let mut read = Domain::parse(&once).unwrap_or_else(|error| panic!("{what}: {error}\n{once}"));
    act(&mut read).unwrap_or_else(|error| panic!("{what}: refused its own text: {error}\n{once}"));
    assert_eq!(read.to_xml(), once, "{what}: read again, it is another");
}

/// Bytes as a status file. Returns whether they are one.
pub(crate) fn status(bytes: &[u8]) -> bool {
    let mut status = match Status::parse_bytes(bytes, limits()) {
        Ok(status) => status,
        Err(error) => {
            has_a_place(&error);
            return false;
        }
    };
    let text = status.to_xml();
    assert_eq!(text.as_bytes(), bytes, "what was read is what is written");
    let facts = status.facts().expect("it was checked when it was read");
    let intents = status.intents().count();
    // Facts that are set to what they are, twice, change nothing the second time; nothing else changes at all.
    status.set_facts(&facts).expect("facts of a status are facts");
    let once = status.to_xml();
    let mut again = Status::parse(&once).expect("what was written can be read");
    assert_eq!(again.facts().expect("with its facts"), facts);
    assert_eq!(again.intents().count(), intents);
    again.set_facts(&facts).expect("facts of a status are facts");
    assert_eq!(again.to_xml(), once, "the second time changes something");
    // An intent that comes and goes leaves the others, the facts and the definition.
    let definition = again.document().fragment(again.domain().root());
    let intent = again.add_intent("<attach/>").expect("there is always room for one");
    again.remove_intent(intent);
    let after = Status::parse(&again.to_xml()).expect("what was written can be read");
    assert_eq!((after.facts().expect("with its facts"), after.intents().count()), (facts, intents));
    assert_eq!(after.document().fragment(after.domain().root()), definition);
    let inner = Domain::parse(&definition).expect("the definition stands alone");
    completed(&inner, Reading::Process);
    true
}
