"""Who sent how many bytes in which round: measured on the messages themselves, for any Flower strategy."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """Bytes of content between the server and one client in one round: `down` to the client, `up` from it."""

    server_round: int
    node_id: int
    action: str
    down: int = 0
    up: int = 0


class ByteLedger:
    """One row for each round, client and action (`train`, `train.distill`, `evaluate`, ...), in the order of sending.

    A reply that is an error, or never comes, costs 0 bytes up. What is counted is content (arrays, metrics, settings),
    as Flower's own `count_bytes` does; the envelope of a message, some hundred bytes, is not.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int, str], LedgerRow] = {}
        self._current: dict[int, int] = {}

    @property
    def rows(self) -> list[LedgerRow]:
        return list(self._rows.values())

    def sent(self, message: Message) -> None:
        """Count a message to a client; its round is the `server-round` it carries, as Flower's strategies set it."""
        node_id = message.metadata.dst_node_id
        self._current[node_id] = _server_round(message.content)
        self._add(node_id, message.metadata.message_type, down=content_bytes(message.content))

    def received(self, message: Message) -> None:
        """Count a client's reply, towards the round of the last message it was sent."""
        up = content_bytes(message.content) if message.has_content() else 0
        self._add(message.metadata.src_node_id, message.metadata.message_type, up=up)

    def down(self, server_round: int | None = None) -> int:
        """Bytes to all clients, in one round or in all."""
        return sum(row.down for row in self.rows if server_round in (None, row.server_round))

    def up(self, server_round: int | None = None) -> int:
        """Bytes from all clients, in one round or in all."""
        return sum(row.up for row in self.rows if server_round in (None, row.server_round))

    def _add(self, node_id: int, action: str, *, down: int = 0, up: int = 0) -> None:
        server_round = self._current.get(node_id, 0)
        key = (server_round, node_id, action)
        row = self._rows.get(key, LedgerRow(server_round=server_round, node_id=node_id, action=action))
        self._rows[key] = replace(row, down=row.down + down, up=row.up + up)


def content_bytes(content: RecordDict) -> int:
    """The sum of Flower's `count_bytes` over all records of a message."""
    return sum(record.count_bytes() for record in content.values())


def _server_round(content: RecordDict) -> int:
    config: ConfigRecord
    for config in content.config_records.values():
        number = config.get("server-round")
        if isinstance(number, int):
            return number
    return 0


class MeteredGrid(Grid):
    """A `Grid` that does what another one does and writes every message into a ledger."""

    def __init__(self, grid: Grid, ledger: ByteLedger) -> None:
        self._grid = grid
        self.ledger = ledger

    def set_run(self, run: Run) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(self._sent(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._received(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self._received(self._grid.send_and_receive(self._sent(messages), timeout=timeout))

    def _sent(self, messages: Iterable[Message]) -> list[Message]:
        outgoing = list(messages)
        for message in outgoing:
            self.ledger.sent(message)
        return outgoing

    def _received(self, messages: Iterable[Message]) -> list[Message]:
        incoming = list(messages)
        for message in incoming:
            self.ledger.received(message)
        return incoming
