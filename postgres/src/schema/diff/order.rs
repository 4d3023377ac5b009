//! In which order things are made: what is needed first, and each as late as its phase allows.
//!
//! A graph of [`Node`]s is sorted so that needs come first; where that leaves a choice, kinds come in
//! a fixed order and names in theirs. A circle is broken at an object that has a stand-in (a shell
//! type, a view of nulls). Then phases are settled: what the rows need is drawn before them with all
//! it needs itself, and what needs something late becomes late.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::plan::Phase;
use crate::schema::snapshot::ObjectId;

/// What a node stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Part {
    /// A stand-in for the object.
    Placeholder,
    /// The object.
    Main,
    /// Its becoming a partition.
    Attach,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ObjectId,
    pub(super) part: Part,
    /// Place among what could come next.
    pub(super) rank: (u8, String),
    /// No earlier than this, by its nature.
    pub(super) floor: Phase,
    /// No later than needed; this if nothing needs it.
    pub(super) wanted: Phase,
    /// Nodes that come before.
    pub(super) needs: Vec<usize>,
    /// Whether it has a stand-in.
    pub(super) breakable: bool,
}

/// The nodes in order, each with its phase, and the nodes at which a circle could not be broken.
pub(super) struct Order {
    pub(super) nodes: Vec<(ObjectId, Part, Phase)>,
    pub(super) circles: Vec<ObjectId>,
}

pub(super) fn order(mut nodes: Vec<Node>) -> Order {
    let mut sequence: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut done: Vec<bool> = vec![false; nodes.len()];
    let mut circles = Vec::new();
    let mut stand_ins: HashMap<usize, usize> = HashMap::new();
    let mut ready = BinaryHeap::new();
    let (mut waiting, mut dependents) = edges(&nodes);
    for (at, node) in nodes.iter().enumerate() {
        if waiting.get(at) == Some(&0) {
            ready.push(Reverse((node.rank.clone(), at)));
        }
    }
    loop {
        while let Some(Reverse((_, at))) = ready.pop() {
            sequence.push(at);
            done[at] = true;
            for dependent in std::mem::take(&mut dependents[at]) {
                waiting[dependent] -= 1;
                if waiting[dependent] == 0 {
                    ready.push(Reverse((nodes[dependent].rank.clone(), dependent)));
                }
            }
        }
        let Some((needing, needed)) = breakable_edge(&nodes, &done) else { break };
        // The edge from the stand-in's user to the real thing goes.
        nodes[needing].needs.retain(|need| *need != needed);
        dependents[needed].retain(|dependent| *dependent != needing);
        waiting[needing] -= 1;
        if nodes[needed].breakable {
            let stand_in = *stand_ins.entry(needed).or_insert_with(|| {
                let node = &nodes[needed];
                // A stand-in needs only what is there already.
                let needs: Vec<usize> = node.needs.iter().copied().filter(|n| done[*n]).collect();
                let stand_in = Node {
                    id: node.id,
                    part: Part::Placeholder,
                    rank: node.rank.clone(),
                    floor: Phase::BeforeRows,
                    wanted: Phase::AfterRows,
                    needs,
                    breakable: false,
                };
                nodes.push(stand_in);
                done.push(true);
                dependents.push(Vec::new());
                waiting.push(0);
                let at = nodes.len() - 1;
                sequence.push(at);
                nodes[needed].needs.push(at);
                at
            });
            nodes[needing].needs.push(stand_in);
        } else {
            circles.push(nodes[needed].id);
        }
        if waiting[needing] == 0 {
            ready.push(Reverse((nodes[needing].rank.clone(), needing)));
        }
    }
    let phases = phases(&nodes, &sequence);
    sequence.sort_by_key(|at| phases[*at]);
    let nodes = sequence.iter().map(|at| (nodes[*at].id, nodes[*at].part, phases[*at])).collect();
    Order { nodes, circles }
}

/// How many needs each node waits for, and who waits for it.
fn edges(nodes: &[Node]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut waiting = vec![0; nodes.len()];
    let mut dependents = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        waiting[at] = node.needs.len();
        for need in &node.needs {
            dependents[*need].push(at);
        }
    }
    (waiting, dependents)
}

/// An edge of some circle among what is left, at a breakable node where there is one.
fn breakable_edge(nodes: &[Node], done: &[bool]) -> Option<(usize, usize)> {
    let mut at = (0..nodes.len()).filter(|at| !done[*at]).min_by_key(|at| &nodes[*at].rank)?;
    let mut path: Vec<usize> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    // Everything left has an unmet need, so the walk must meet itself.
    while !places.contains_key(&at) {
        places.insert(at, path.len());
        path.push(at);
        at = nodes[at].needs.iter().copied().find(|need| !done[*need])?;
    }
    let circle = path.split_off(places[&at]);
    let followed = circle.iter().cycle().skip(1);
    let edges: Vec<(usize, usize)> = circle.iter().copied().zip(followed.copied()).collect();
    let breakable = edges.iter().filter(|(_, needed)| nodes[*needed].breakable);
    breakable.min_by_key(|(_, needed)| &nodes[*needed].rank).or(edges.first()).copied()
}

fn phases(nodes: &[Node], sequence: &[usize]) -> Vec<Phase> {
    let mut wanted: Vec<Phase> = nodes.iter().map(|node| node.wanted).collect();
    for at in sequence.iter().rev() {
        for need in &nodes[*at].needs {
            wanted[*need] = wanted[*need].min(wanted[*at]);
        }
    }
    let mut earliest: Vec<Phase> = nodes.iter().map(|node| node.floor).collect();
    for at in sequence {
        for need in &nodes[*at].needs {
            earliest[*at] = earliest[*at].max(earliest[*need]);
        }
    }
    earliest.into_iter().zip(wanted).map(|(earliest, wanted)| earliest.max(wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::snapshot::Class;

    fn node(name: &str, phases: (Phase, Phase), needs: &[usize], breakable: bool) -> Node {
        let oid = name.bytes().next().map_or(0, u32::from);
        Node {
            id: ObjectId { class: Class::Type, oid },
            part: Part::Main,
            rank: (0, name.to_owned()),
            floor: phases.0,
            wanted: phases.1,
            needs: needs.to_vec(),
            breakable,
        }
    }

    fn check(nodes: Vec<Node>, expected: &str) {
        let order = order(nodes);
        let letter = |(id, part, phase): &(ObjectId, Part, Phase)| {
            let letter = char::from(u8::try_from(id.oid).unwrap());
            let stand_in = if *part == Part::Placeholder { "'" } else { "" };
            format!("{letter}{stand_in}{}", *phase as u8)
        };
        let found: Vec<String> = order.nodes.iter().map(letter).collect();
        assert_eq!(found.join(" "), expected);
    }

    const EARLY: (Phase, Phase) = (Phase::BeforeRows, Phase::BeforeRows);
    const LATE: (Phase, Phase) = (Phase::BeforeRows, Phase::AfterRows);

    #[test]
    fn needs_come_first_and_names_decide_the_rest() {
        check(
            vec![
                node("b", EARLY, &[], false),
                node("a", EARLY, &[2], false),
                node("c", EARLY, &[], false),
            ],
            "b0 c0 a0",
        );
    }

    #[test]
    fn what_the_rows_need_is_drawn_forward_and_what_needs_keys_pushed_back() {
        check(
            vec![
                node("a", LATE, &[], false),
                node("b", EARLY, &[0], false),
                node("k", (Phase::Keys, Phase::Keys), &[1], false),
                node("v", LATE, &[2], false),
                node("z", EARLY, &[3], false),
            ],
            "a0 b0 k1 v1 z1",
        );
    }

    #[test]
    fn circles_are_broken_at_stand_ins() {
        // A base type t and its functions f and g; a table x with such a column.
        check(
            vec![
                node("f", LATE, &[2], false),
                node("g", LATE, &[2], false),
                node("t", LATE, &[0, 1], true),
                node("x", EARLY, &[2], false),
            ],
            "t'0 f0 g0 t0 x0",
        );
    }
}
