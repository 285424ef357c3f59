"""A tiny Flower grid in this process, so that protocol tests need no Ray."""

from collections.abc import Callable, Iterable

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from core_distill.recipes import Recipe, dm

Tamper = Callable[[Message], Message]
"""What happens to a client's reply on its way; raising turns it into an error message."""


class InProcessGrid(Grid):
    """Calls the app of each node in turn; node `100 + i` holds partition `i`, and may have its replies tampered with."""

    def __init__(self, app: ClientApp, num_nodes: int, tampers: dict[int, Tamper] | None = None) -> None:
        self.app, self.tampers = app, tampers or {}
        # Flower's runtimes say who sends before a `Message` can be made; here that is this grid.
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self.silent: set[int] = set()
        self.contexts = {
            100 + number: Context(
                run_id=1,
                node_id=100 + number,
                node_config={"partition-id": number, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config={},
            )
            for number in range(num_nodes)
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            ids.append(str(len(self._replies)))
            self._replies[ids[-1]] = self._answer(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies[message_id] for message_id in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return [self._answer(message) for message in messages if message.metadata.dst_node_id not in self.silent]

    def _answer(self, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        try:
            reply = self.app(message, self.contexts[node_id])
            return self.tampers.get(node_id, lambda untouched: untouched)(reply)
        except Exception as error:
            return Message(Error(code=0, reason=str(error)), reply_to=message)


@pytest.fixture(scope="session")
def new_grid() -> Callable[..., InProcessGrid]:
    """`new_grid(app, num_nodes, tampers)`."""
    return InProcessGrid


@pytest.fixture(scope="session")
def quick_recipe() -> Recipe:
    """Two steps of DM on a narrow network: it runs in a fraction of a second."""
    values = {"steps": 2, "batch_size": 4, "width": 4, "depth": 1}
    return dm(images_per_class=2, data="digits", schedule="cpu").with_values(values)
