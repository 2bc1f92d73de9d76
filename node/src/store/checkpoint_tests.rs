//! Checkpoints go out and come back; torn ones are found out; failures leave what was there.

use super::*;
use crate::model::initial_params;
use crate::train::trainer::test_spec;
use std::os::unix::fs::PermissionsExt;

fn checkpoint(round: Round) -> Checkpoint {
    let spec = test_spec();
    let params = initial_params(&spec.model, round);
    Checkpoint {
        round,
        digest: Digest::of(&round.to_le_bytes()),
        momentum: params.iter().map(|x| x * 3.0).collect(),
        params,
        extras: BTreeMap::from([("residual-up".into(), vec![1, 2, 3]), ("empty".into(), vec![])]),
        local: BTreeMap::from([("inner-0".into(), Arc::new(vec![7; 100]))]),
        losses: vec![(0, 5.5), (round, 1.0 / 3.0)],
        spec,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn comes_back_as_it_went_and_only_the_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".partial-00000001-99")).unwrap();
    for round in [3, 4, 12, 12] {
        let path = save(dir.path(), &checkpoint(round), 2, |_| false).unwrap();
        assert_eq!(load(&path).unwrap(), checkpoint(round));
    }
    assert_eq!(names(dir.path()), ["round-00000004", "round-00000012"]);
    let found = newest_intact(dir.path()).unwrap().unwrap();
    assert_eq!((found.path, found.checkpoint), (folder(dir.path(), 12), checkpoint(12)));
}

#[test]
fn whatever_the_losses_are_the_manifest_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = crate::data::rng::Rng::new(1);
    let losses = (0..500).map(|round| (round, rng.unit() * 6.0)).collect();
    let noted = Checkpoint { losses, ..checkpoint(1) };
    let path = save(dir.path(), &noted, 1, |_| false).unwrap();
    assert_eq!(load(&path).unwrap(), noted);
}

#[test]
fn without_momentum_and_without_any() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(newest_intact(&dir.path().join("none")).unwrap(), None);
    let bare = Checkpoint {
        momentum: vec![],
        extras: BTreeMap::new(),
        local: BTreeMap::new(),
        ..checkpoint(1)
    };
    let path = save(dir.path(), &bare, 1, |_| false).unwrap();
    assert_eq!(names(&path), [super::super::manifest::MANIFEST, MODEL]);
    assert_eq!(load(&path).unwrap(), bare);
}

#[test]
fn whatever_is_altered_the_one_before_is_used() {
    type Alter = fn(&Path);
    let alter: [(&str, Alter); 6] = [
        (MODEL, |path| flip(path, 5000)),
        (MOMENTUM, |path| truncate(path)),
        ("extra-residual-up", |path| flip(path, 1)),
        ("manifest.json", |path| flip(path, 20)),
        ("manifest.json", |path| truncate(path)),
        (MODEL, |path| std::fs::remove_file(path).unwrap()),
    ];
    for (name, alter) in alter {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &checkpoint(1), 5, |_| false).unwrap();
        let newest = save(dir.path(), &checkpoint(2), 5, |_| false).unwrap();
        alter(&newest.join(name));
        let error = load(&newest).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(newest_intact(dir.path()).unwrap().unwrap().checkpoint.round, 1, "{name}");
    }
}

#[test]
fn what_can_be_done_without_is_left_out_if_torn() {
    let alter: [fn(&Path); 3] =
        [|path| flip(path, 5), truncate, |path| std::fs::remove_file(path).unwrap()];
    for alter in alter {
        let dir = tempfile::tempdir().unwrap();
        let path = save(dir.path(), &checkpoint(1), 1, |_| false).unwrap();
        alter(&path.join("local-inner-0"));
        assert_eq!(load(&path).unwrap(), Checkpoint { local: BTreeMap::new(), ..checkpoint(1) });
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn what_does_not_fit_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let short = Checkpoint { params: vec![0.0; 3], ..checkpoint(1) };
    assert!(
        save(dir.path(), &short, 1, |_| false).unwrap_err().to_string().contains("3 parameters")
    );
    let sly = Checkpoint { extras: BTreeMap::from([("../x".into(), vec![])]), ..checkpoint(1) };
    assert!(
        save(dir.path(), &sly, 1, |_| false)
            .unwrap_err()
            .to_string()
            .contains("cannot name a file")
    );
    let sly =
        Checkpoint { local: BTreeMap::from([("/x".into(), Arc::default())]), ..checkpoint(1) };
    assert!(
        save(dir.path(), &sly, 1, |_| false)
            .unwrap_err()
            .to_string()
            .contains("cannot name a file")
    );
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_folder_closed_to_us_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &checkpoint(1), 2, |_| false).unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(dir.path(), closed).unwrap();
    // The superuser may write anyway: then there is no error to look at.
    if let Err(error) = save(dir.path(), &checkpoint(2), 2, |_| false) {
        assert!(error.to_string().contains("--home"), "{error}");
        assert_eq!(newest_intact(dir.path()).unwrap().unwrap().checkpoint.round, 1);
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_best_and_what_is_held_outlast_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let put = |round| save(dir.path(), &checkpoint(round), 1, |round| round == 4).unwrap();
    put(3);
    let best = best::point_at(dir.path(), 3, &checkpoint(3).digest).unwrap().unwrap();
    [4, 5, 6].into_iter().for_each(|round| drop(put(round)));
    assert_eq!(names(dir.path()), ["best", "round-00000003", "round-00000004", "round-00000006"]);
    assert_eq!(load(&best).unwrap(), checkpoint(3));
    assert_eq!(best::pointed_at(dir.path()), Some(folder(dir.path(), 3)));
    // Of another branch: it is not the best that the others know of.
    assert_eq!(best::point_at(dir.path(), 4, &checkpoint(9).digest).unwrap(), None);
    assert_eq!(best::point_at(dir.path(), 4, &checkpoint(4).digest).unwrap(), Some(best));
    save(dir.path(), &checkpoint(7), 1, |_| false).unwrap();
    assert_eq!(names(dir.path()), ["best", "round-00000004", "round-00000007"]);
}
