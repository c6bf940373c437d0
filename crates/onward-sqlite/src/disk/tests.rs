//! Readers wait for what they could see to be on disk.

use std::sync::mpsc;

use super::*;

fn disk() -> Disk {
    Disk::new(tempfile::tempfile().unwrap())
}

/// What is read now; the channel says when it is given away.
fn read(disk: &Disk) -> mpsc::Receiver<Result<(), StoreError>> {
    let (tell, told) = mpsc::channel();
    disk.when_settled(Box::new(move |answer| tell.send(answer).unwrap()));
    told
}

#[test]
fn a_read_is_answered_at_once_where_all_is_on_disk() {
    let disk = disk();
    read(&disk).try_recv().unwrap().unwrap();
    disk.expect_group();
    disk.settle();
    read(&disk).try_recv().unwrap().unwrap();
}

#[test]
fn a_read_waits_for_the_groups_that_it_could_see_and_for_no_later_one() {
    let disk = disk();
    disk.expect_group();
    let first = read(&disk);
    disk.expect_group();
    let second = read(&disk);
    assert!(first.try_recv().is_err());
    disk.settle();
    first.try_recv().unwrap().unwrap();
    assert!(second.try_recv().is_err());
    disk.settle();
    second.try_recv().unwrap().unwrap();
}

#[test]
fn what_may_never_be_on_disk_is_not_given_away() {
    let disk = disk();
    disk.expect_group();
    let before = read(&disk);
    disk.fail("input/output error");
    assert!(matches!(before.try_recv().unwrap(), Err(StoreError::Unavailable(_))));
    assert!(matches!(read(&disk).try_recv().unwrap(), Err(StoreError::Unavailable(_))));
}
