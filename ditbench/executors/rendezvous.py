"""Where the processes of a run meet: in the store of torch's elastic launcher, or of torchrun."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

PATIENCE = timedelta(days=1)  # one rank measures for long while the others wait; the launcher sees who dies


@dataclass(frozen=True)
class Blame:
    """What has ended a run."""

    reason: str = ""  # in one line; empty: rank 0 has recorded it itself
    killed: bool = False  # a process was, so that another attempt may go well

    @property
    def told(self) -> bool:
        """Whether rank 0 has recorded it."""
        return not self.reason


@dataclass(frozen=True)
class Seat:
    """A rank's place in one attempt at a run, and the launcher's store, through which all meet."""

    rank: int
    size: int
    local_rank: int
    local_size: int  # on this machine
    address: str
    port: int
    attempt: str  # a part of the store of its own: what earlier attempts left misleads
    blame: str = "blame"  # the store's key for what ended the run, once and for all

    @classmethod
    def of_environment(cls, attempt: str) -> Seat:
        """As the launcher tells it."""
        told = os.environ
        rank, size, port = int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["MASTER_PORT"])
        return cls(
            rank, size, int(told["LOCAL_RANK"]), int(told["LOCAL_WORLD_SIZE"]), told["MASTER_ADDR"], port, attempt
        )

    def store(self) -> Any:
        """A connection to the store."""
        return distributed.TCPStore(  # type: ignore[attr-defined]
            self.address, self.port, is_master=False, timeout=PATIENCE, wait_for_workers=False
        )

    def meet(self) -> None:
        """Set torch.distributed up."""
        store = distributed.PrefixStore(self.attempt, self.store())  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=PATIENCE)

    def blamed(self, store: Any) -> Blame | None:
        """What has ended the run; None: nothing has."""
        return Blame(**json.loads(store.get(self.blame))) if store.check([self.blame]) else None

    def untold(self, store: Any) -> Blame | None:
        """The same, but None if rank 0 has recorded it."""
        blame = self.blamed(store)
        return None if blame is None or blame.told else blame

    def accuse(self, store: Any, reason: str = "", killed: bool = False) -> None:
        """Say what ends the run, as `Blame` has it; the first word is the last."""
        store.compare_set(self.blame, "", json.dumps(asdict(Blame(reason, killed))))
