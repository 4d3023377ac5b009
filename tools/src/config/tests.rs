use super::*;

const SMALLEST: &str = r#"
name = "orders"
[source]
conninfo = "service=src"
[log]
dir = "/var/lib/pgtrail/orders"
[destination]
conninfo = "service=dst"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("t.toml")).map_err(|failure| failure.to_string())
}

/// `SMALLEST` with `from` replaced, and what the refusal must say.
#[track_caller]
fn refuses(from: &str, to: &str, expected: &[&str]) {
    assert!(SMALLEST.contains(from), "{from}");
    let message = parse(&SMALLEST.replacen(from, to, 1)).expect_err("a refusal");
    for part in expected {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert!(!message.contains('\n'), "one line: {message:?}");
}

#[test]
fn the_example_lists_every_key_with_its_default() {
    let text = include_str!("../../../pgtrail.example.toml");
    // Keys without a default value, and the second form of [destination], stand there as comments.
    let config = parse(text).expect("the example");
    let expected = Config {
        name: "orders".to_owned(),
        source: Source { conninfo: config.source.conninfo.clone(), ..Source::default() },
        log: Log { dir: PathBuf::from("/var/lib/pgtrail/orders"), ..Log::default() },
        destinations: config.destinations.clone(),
        ..Config::default()
    };
    assert_eq!(config, expected);
    for key in [
        "name",
        "stages",
        "connect_retry",
        "error_retry",
        "sequence_interval",
        "conninfo",
        "dir",
        "keep",
        "keep_base",
        "max_size",
        "min_free",
        "schemas",
        "tables",
        "exclude",
        "keyless",
        "jobs",
        "rows_per_second",
        "bytes_per_second",
        "copy_jobs",
        "copy_rows_per_second",
        "copy_bytes_per_second",
        "accept",
        "disk_free",
        "on_existing",
        "default",
        "insert_exists",
        "update_missing",
    ] {
        let written = text.lines().any(|line| {
            line.trim_start_matches(['#', ' '])
                .split_once('=')
                .is_some_and(|(name, _)| name.trim() == key)
        });
        assert!(written, "the example does not show {key}");
    }
}

#[test]
fn the_smallest_file_takes_the_defaults() {
    let config = parse(SMALLEST).expect("the smallest file");
    assert_eq!(config.stages, [Stage::Schema, Stage::Copy, Stage::Changes]);
    assert_eq!(config.destinations.keys().collect::<Vec<_>>(), ["default"]);
    assert_eq!(config.slot(), "pgtrail_orders");
    assert!(config.selection().is_everything());
}

#[test]
fn several_destinations_have_names() {
    let text = SMALLEST.replace("[destination]", "[destination.west]")
        + "[destination.east]\nconninfo = \"service=east\"\n";
    let config = parse(&text).expect("two destinations");
    assert_eq!(config.destinations.keys().collect::<Vec<_>>(), ["east", "west"]);
}

#[test]
fn each_destination_has_its_own_throttle() {
    let throttle = "copy_jobs = 3\ncopy_rows_per_second = 5000\ncopy_bytes_per_second = \"1MB\"\n";
    let text = format!("{SMALLEST}[destination.throttle]\n{throttle}");
    let config = parse(&text).expect("the short form");
    let found = &config.destinations["default"].throttle;
    assert_eq!(found.copy_jobs.get(), 3);
    let rate = Rate { rows_per_second: Some(5000), bytes_per_second: Some(1 << 20) };
    assert_eq!(found.rate(), rate);
    let named = SMALLEST.replace("[destination]", "[destination.west]");
    let text = format!("{named}[destination.west.throttle]\n{throttle}");
    assert_eq!(parse(&text).expect("by name").destinations["west"].throttle, *found);
    let message = parse(&format!("{named}[destination.throttle]\n{throttle}")).expect_err("whose?");
    assert!(message.contains("one of the [destination.NAME] tables"), "{message}");
    refuses("[source]", "[copy]\nrows_per_second = 0\n[source]", &["t.toml:4", "rows_per_second"]);
    refuses("[source]", "[copy]\nbytes_per_second = \"0B\"\n[source]", &["bytes_per_second"]);
}

#[test]
fn an_unknown_key_is_answered_with_the_known_ones() {
    refuses("dir =", "dirr =", &["t.toml:6", "unknown key `dirr`", "`min_free`"]);
    refuses("[log]", "[logs]", &["t.toml:5", "unknown key `logs`", "`log`"]);
    refuses("\"service=dst\"", "\"x\"\nworkers = 2", &["unknown key `workers`", "`conninfo`"]);
    refuses("name =", "stages = [\"fly\"]\nname =", &["t.toml:2", "fly", "changes"]);
}

#[test]
fn a_wrong_value_names_its_key_and_line() {
    refuses("[log]", "[log]\nkeep = \"soon\"", &["t.toml:6", "keep", "invalid duration \"soon\""]);
    refuses("[log]", "[log]\nmin_free = \"5XB\"", &["t.toml:6", "min_free", "invalid size"]);
    refuses("[log]", "[log]\nkeep_base = 3", &["t.toml:6", "keep_base"]);
    refuses("\"orders\"", "\"Orders\"", &["t.toml:2", "name", "[a-z0-9_]+"]);
    refuses("[source]", "[copy]\njobs = 0\n[source]", &["t.toml:4", "copy.jobs"]);
    refuses(
        "[source]",
        "[objects]\ntables = [\"a\"]\n[source]",
        &["t.toml:4", "tables", "schema.table"],
    );
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    refuses("name = \"orders\"", "", &["missing key name"]);
    refuses("conninfo = \"service=src\"", "", &["missing key conninfo in [source]"]);
    refuses("dir = \"/var/lib/pgtrail/orders\"", "", &["missing key dir in [log]"]);
    refuses("conninfo = \"service=dst\"", "", &["missing key `conninfo`"]);
    refuses(
        "[destination]\nconninfo = \"service=dst\"",
        "",
        &["missing key conninfo in [destination]"],
    );
}

#[test]
fn contradictions_name_both_keys() {
    refuses(
        "\"service=dst\"",
        "\"service=dst\"\n[destination.b]\nconninfo = \"x\"",
        &["destination.conninfo", "destination.b"],
    );
    refuses(
        "[source]",
        "[objects]\ntables = [\"a.b\"]\nexclude = [\"a.b\"]\n[source]",
        &["t.toml:5", "objects.tables", "objects.exclude", "a.b"],
    );
}

#[test]
fn conflict_policies_are_named_by_kind() {
    use pgtrail_applier::{Policies, Policy};
    let with = |lines: &str| {
        let text = format!("{SMALLEST}{lines}");
        parse(&text).map(|config| config.destinations["default"].policies())
    };
    let errors = Policies::default();
    let wins = Policy::ApplyRemote;
    assert_eq!(with(""), Ok(errors));
    assert_eq!(with("on_existing = \"keep\""), Ok(Policies { insert_exists: wins, ..errors }));
    let said = "on_existing = \"keep\"\n[destination.conflict]\ninsert_exists = \"error\"";
    assert_eq!(with(said), Ok(errors));
    let both = "[destination.conflict]\ndefault = \"error\"\ninsert_exists = \"apply_remote\"\n\
                update_missing = \"apply_remote\"";
    assert_eq!(with(both), Ok(Policies { insert_exists: wins, update_missing: wins }));
    let named = SMALLEST.replace("[destination]", "[destination.west]")
        + "on_existing = \"keep\"\n[destination.west.conflict]\nupdate_missing = \"apply_remote\"";
    let config = parse(&named).expect("a named destination");
    let expected = Policies { insert_exists: wins, update_missing: wins };
    assert_eq!(config.destinations["west"].policies(), expected);
    assert!(config.keeps_existing("west") && !config.keeps_existing("east"));
    for (lines, part) in [
        ("on_existing = \"drop\"", "drop"),
        ("[destination.conflict]\ninsert_exists = \"newest\"", "newest"),
        ("[destination.conflict]\ndelete_missing = \"apply_remote\"", "delete_missing"),
        ("[destination.conflict]\ndefault = \"apply_remote\"", "conflict.default"),
    ] {
        let message = with(lines).expect_err(lines);
        assert!(message.contains(part), "{message}");
    }
    let astray = SMALLEST.replace("[destination]", "[destination.west]")
        + "[destination.conflict]\ndefault = \"error\"";
    assert!(parse(&astray).expect_err("no name").contains("[destination.NAME]"));
}

#[test]
fn stages_are_any_subset() {
    let stages = |list: &str| format!("stages = {list}\nname =");
    for (list, (schema, copies, follows)) in [
        ("[\"schema\"]", (true, false, false)),
        ("[\"copy\"]", (false, true, false)),
        ("[\"changes\"]", (false, false, true)),
        ("[\"copy\", \"schema\"]", (true, true, false)),
        ("[\"schema\", \"changes\"]", (true, false, true)),
        ("[\"changes\", \"copy\"]", (false, true, true)),
    ] {
        let config = parse(&SMALLEST.replacen("name =", &stages(list), 1)).expect(list);
        assert_eq!(
            (config.makes_schema(), config.copies(), config.follows()),
            (schema, copies, follows)
        );
        assert_eq!(config.replicates(), copies || follows, "{list}");
    }
    refuses("name =", &stages("[]"), &["t.toml:2", "stages", "at least one"]);
    refuses("name =", &stages("[\"copy\", \"copy\"]"), &["t.toml:2", "stages", "twice"]);
}
