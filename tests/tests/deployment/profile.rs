//! The profile that deploy/build.sh compiles the server for is there for the pinned Rust, which can read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use formledger_tests::installation::repository;

use crate::parts::{file, pinned_rust};

/// A small library compiled for `profile`, in `folder`.
fn compiled_for(profile: &Path, folder: &Path) -> Output {
    let source = folder.join("lib.rs");
    fs::write(&source, "pub fn answer() -> u32 { 42 }\n").expect("the folder can be written");
    Command::new("rustc")
        // Where rust-toolchain.toml says which one, unless whoever runs the tests said so.
        .current_dir(repository())
        .args(["--crate-type", "lib", "--crate-name", "profiled", "--edition", "2024", "-O", "--out-dir"])
        .arg(folder)
        .arg(format!("-Cprofile-use={}", profile.display()))
        .arg(&source)
        .output()
        .expect("rustc compiled this test")
}

#[test]
fn the_pinned_rust_reads_its_profile() {
    let profile = file(&format!("profile/rust-{}.profdata", pinned_rust()));
    assert!(profile.is_file(), "{} is missing: run deploy/profile.sh", profile.display());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let output = compiled_for(&profile, folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    // A profile that it cannot read is no more than a warning to it.
    assert!(output.status.success() && said.is_empty(), "{said}");

    let broken = folder.path().join("broken.profdata");
    let bytes = fs::read(&profile).expect("it can be read");
    fs::write(&broken, &bytes[bytes.len() / 2..]).expect("the folder can be written");
    let said = compiled_for(&broken, folder.path()).stderr;
    assert!(
        String::from_utf8_lossy(&said).contains("invalid instrumentation profile"),
        "half a profile is none"
    );
}

/// `deploy/build.sh` of a copy of what it reads in `folder`, with a cargo that only notes how it was called; what it noted, and the answer.
fn build(folder: &Path, environment: &[(&str, &str)]) -> (Vec<String>, Output) {
    let place = folder.join("a folder");
    for part in ["deploy/build.sh", "rust-toolchain.toml"] {
        let copy = place.join(part);
        fs::create_dir_all(copy.parent().expect("it lies in a folder")).expect("the folder can be written");
        fs::copy(repository().join(part), copy).expect("it is there");
    }
    let profile = place.join(format!("deploy/profile/rust-{}.profdata", pinned_rust()));
    fs::create_dir_all(profile.parent().expect("it lies in a folder")).expect("the folder can be written");
    fs::write(&profile, "a profile").expect("the folder can be written");

    let (tools, noted) = (folder.join("tools"), folder.join("noted"));
    fs::create_dir_all(&tools).expect("the folder can be written");
    let cargo = tools.join("cargo");
    let note =
        "#!/bin/sh\nprintf '%s\\n' \"$CARGO_TARGET_DIR\" \"$CARGO_ENCODED_RUSTFLAGS\" \"$*\" > \"$NOTED\"\n";
    fs::write(&cargo, note).expect("the folder can be written");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = std::env::var("PATH").expect("there are programs");
    let output = Command::new("bash")
        .arg("a folder/deploy/build.sh")
        .current_dir(folder)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("NOTED", &noted)
        .envs(environment.iter().copied())
        .output()
        .expect("bash is there");
    let noted = fs::read_to_string(&noted).unwrap_or_default();
    (noted.lines().map(str::to_owned).collect(), output)
}

#[test]
fn the_deployed_server_is_built_for_the_profile() {
    for (environment, target, first) in [
        (&[][..], "a folder/target", None),
        (
            &[("CARGO_TARGET_DIR", "elsewhere"), ("RUSTFLAGS", "-Cdebuginfo=1 --cfg x")][..],
            "elsewhere",
            Some("-Cdebuginfo=1\u{1f}--cfg\u{1f}x"),
        ),
        (&[("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}y z")][..], "a folder/target", Some("--cfg\u{1f}y z")),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (noted, output) = build(folder.path(), environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [into, flags, arguments] = <[String; 3]>::try_from(noted).expect("cargo was called once");
        assert_eq!(Path::new(&into), folder.path().join(target).join("deploy"));
        let (given, used) = flags.rsplit_once("-Cprofile-use=").expect("it is compiled for a profile");
        assert_eq!(given, first.map(|first| format!("{first}\u{1f}")).unwrap_or_default());
        assert_eq!(fs::read_to_string(used).expect("the profile"), "a profile");
        let program = String::from_utf8(output.stdout).expect("a path");
        let (built, target) = (
            Path::new(program.trim_end()),
            arguments.split(' ').skip_while(|word| *word != "--target").nth(1),
        );
        assert_eq!(built, Path::new(&into).join(target.expect("a target")).join("release/formledger"));
    }
}

#[test]
fn the_image_is_built_for_the_profile() {
    let dockerfile = fs::read_to_string(repository().join("Dockerfile")).expect("it is there");
    assert!(dockerfile.contains("program=$(deploy/build.sh) && cp \"$program\""), "{dockerfile}");
}
