//! Presses and the answers to them, when something fails beside them.

use cordon_lab::slack::Trouble;

use super::*;

#[tokio::test]
async fn a_press_is_written_before_slack_hears_that_it_was_taken_and_its_answer_is_tried_again() {
    let world = World::new(Door::Requests, |settings| settings.mode = "ask".to_owned()).await;
    let mut service = world.serve().await;
    world.attack().await;
    let close = world.question(&service, "close-ingress").await;
    let value = close.button(APPROVE).unwrap();

    // Slack takes presses, and the answer not at once.
    let tries = || world.slack.calls().iter().filter(|call| call.method == "chat.postEphemeral").count();
    world.slack.trouble([Trouble::Unheard(500)]);
    assert_eq!(world.press("U0NOBODY", APPROVE, &value, &close).await, 200);
    let said = world.whispered(&service, 0).await;
    assert!(said.contains("nobody that Cordon knows") && tries() >= 2, "{said}");

    assert_eq!(world.press(ALICE, APPROVE, &value, &close).await, 200);
    let journal = rusqlite::Connection::open(world._folder.path().join("state").join("journal.db")).unwrap();
    let written: i64 = journal.query_row("SELECT count(*) FROM requests", [], |row| row.get(0)).unwrap();
    service.kill();
    assert_eq!(written, 1);
    assert_eq!(service.wait(PATIENCE).await, Some(137));
    let again = world.serve().await;
    until(&again, "the yes counts", || world.message("/asks/close-ingress/").is_some_and(|card| card.button(APPROVE).is_none())).await;
    let begun = Instant::now();
    while !world.closed().await {
        assert!(begun.elapsed() < PATIENCE, "{}", again.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
