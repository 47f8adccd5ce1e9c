//! What the shards count, left by turns for whoever asked.

use crate::support::{Peer, Plan, Reply, Rig, START, at, node};
use engine::Policy;

#[test]
fn a_turn_answers_who_asked_and_only_then() {
    let mut rig = Rig::new(Plan { shards: 4, policy: Policy::NoEviction, cap: 0, segments: 200 });
    let mut peer = Peer::resp(1);
    for number in 0..100 {
        assert_eq!(rig.say(&mut peer, &format!("SET key:{number} x")), Reply::ok());
    }
    for number in 0..10 {
        assert_eq!(rig.say(&mut peer, &format!("EXPIRE key:{number} 100")), Reply::int(1));
        rig.say(&mut peer, &format!("SESSION.CREATE s:{number} IDLE 1000"));
    }
    rig.end_of_turn();
    assert_eq!(rig.node.survey().keys, 0, "nobody has asked");
    rig.node.ask_survey();
    assert!(!rig.node.is_surveyed());
    rig.end_of_turn();
    assert!(rig.node.is_surveyed());
    let reading = rig.node.survey();
    assert_eq!((reading.keys, reading.sessions, reading.deadlines), (110, 10, 20));
    assert!(reading.live_bytes > 0 && reading.item_bytes >= reading.live_bytes);
    // What is told stays as it was until somebody asks again.
    rig.say(&mut peer, "SESSION.END s:1");
    rig.say(&mut peer, "DEL key:1 key:99");
    rig.end_of_turn();
    assert_eq!(rig.node.survey().sessions, 10);
    rig.node.ask_survey();
    rig.end_of_turn();
    let reading = rig.node.survey();
    assert_eq!((reading.keys, reading.sessions, reading.deadlines), (107, 9, 18));
}

#[test]
fn a_busy_shard_is_left_to_another_turn() {
    let plan = Plan { shards: 2, policy: Policy::NoEviction, cap: 0, segments: 100 };
    let node = node(plan);
    node.ask_survey();
    node.with_shard(0, |_| {
        node.end_of_turn(at(START), 0, |_| ());
        assert!(!node.is_surveyed());
    });
    node.end_of_turn(at(START), 0, |_| ());
    assert!(node.is_surveyed());
}
