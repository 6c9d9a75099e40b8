//! libvirt's own test data, where it is: see `examples/corpus`.

#[path = "../examples/corpus/check/mod.rs"]
mod check;

use std::path::PathBuf;

#[test]
fn every_difference_from_libvirts_test_data_is_explained() {
    let Some(directory) = std::env::var_os("STATUSQUO_LIBVIRT_TESTS").map(PathBuf::from) else {
        let required = std::env::var("STATUSQUO_REQUIRE").unwrap_or_default();
        let is_required = required.split([',', ' ']).any(|word| word == "libvirt-tests");
        assert!(
            !is_required,
            "libvirt's tests are required and STATUSQUO_LIBVIRT_TESTS is not set"
        );
        eprintln!(
            "skipped: libvirt's test data (set STATUSQUO_LIBVIRT_TESTS to libvirt-9.0.0/tests)"
        );
        return;
    };
    match check::run(&directory) {
        Ok(report) => {
            println!("{report}");
            assert!(report.is_as_expected(), "{report}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn another_directory_is_refused() {
    let Ok(directory) = tempfile::tempdir() else { return };
    let Err(error) = check::run(directory.path()) else {
        panic!("an empty directory was compared")
    };
    assert!(error.to_string().contains("not the directory `tests` of libvirt's source"));
}
