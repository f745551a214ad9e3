import json

import pytest

from methods.all import TABLE
from tests.contract.replay import Replay, Story, methods_answered, stories
from tests.contract.serving import in_process, live, served

_STORIES = stories()


@pytest.mark.parametrize("client_of", [in_process, live], ids=["in_process", "live"])
@pytest.mark.parametrize("story", _STORIES, ids=lambda story: story.name)
async def test_the_answers_are_those_of_the_contract(story: Story, client_of: type, database_url: str) -> None:
    async with served(database_url, max_queue=story.max_queue) as server, client_of(server.app) as client:
        await Replay(server, client).play(story)


def test_every_method_has_a_golden_pair() -> None:
    answered = {name for story in _STORIES for name in methods_answered(story)}
    assert sorted(TABLE.keys() - answered) == []


def test_every_story_says_what_it_shows() -> None:
    silent = [story.name for story in _STORIES if not json.loads(story.path.read_text()).get("about")]
    assert silent == []
