"""Definitions of the rows (what is measured), engraft's floors, and the peers with their settings."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A row of the table: one task at one batch size."""

    name: str
    title: str
    task: str
    batch: int = 16
    # Minimum speed of engraft relative to a peer.
    floors: dict[str, float] = field(default_factory=dict)
    # Maximum peak memory of engraft relative to Keras.
    memory: float | None = None
    bf16: bool = False
    isa: str | None = None
    # Steps per turn.
    steps: int = 2
    # A similar row. Settings that were clearly slower there aren't tried on this row.
    like: str | None = None

    def steps_of(self, program: str) -> int:
        """Steps per turn: half as many for a program without a floor."""
        return self.steps if program == "engraft" or program in self.floors else (self.steps + 1) // 2


ROWS = [
    Row("predict", "forward (predict)", "predict", floors={"keras": 2.8, "torch": 3.3}, memory=0.5),
    Row("frozen", "step, base frozen", "frozen", floors={"keras": 3.0, "torch": 4.5}, memory=0.55),
    Row(
        "fine-tune",
        "step, fine-tune from 15",
        "fine-tune=15",
        floors={"keras": 3.0, "torch": 4.5},
        memory=0.55,
        like="frozen",
    ),
    Row("full", "step, all trainable", "full", floors={"keras": 2.7, "torch": 3.8}, memory=0.65, like="frozen"),
    Row("bf16", "step, base frozen, bf16", "frozen", floors={"keras": 4.5, "torch": 3.0}, memory=0.5, bf16=True),
    Row("latency", "predict, batch 1", "predict", batch=1, floors={"keras": 2.8, "torch": 3.3}, steps=8),
    Row("process", "predict one photo, whole process", "process", batch=1, floors={"keras": 10.0}, memory=0.3),
    Row("avx2", "step, base frozen, both limited to AVX2", "frozen", floors={"keras": 2.5}, isa="avx2", like="frozen"),
]

# By default, glibc returns large blocks to the system and requests them again in each step, which costs page faults. These
# variables turn that off, which makes some peers faster.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1099511627776", "MALLOC_TOP_PAD_": "67108864"}


@dataclass(frozen=True)
class Setting:
    """One way to run a peer: options in its request, and environment variables."""

    name: str
    options: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


KERAS = (
    Setting("default", {"step": "keras"}),
    Setting("allocator keeps memory", {"step": "keras"}, KEEP),
    Setting("own tf.function, allocator keeps memory", {"step": "function"}, KEEP),
    Setting("jit_compile", {"step": "keras", "jit": True}),
    Setting("without oneDNN", {"step": "keras"}, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
)
TORCH = (
    Setting("channels_last", {}),
    Setting("channels_last, allocator keeps memory", {}, KEEP),
    Setting("channels_last, torch.compile, allocator keeps memory", {"compile": True}, KEEP),
)
OPENVINO = (Setting("latency hint", {"hint": "LATENCY"}), Setting("throughput hint", {"hint": "THROUGHPUT"}))
# The default allocator is never faster for these peers.
RUST = (Setting("allocator keeps memory", {}, KEEP),)


@dataclass(frozen=True)
class Peer:
    """A program to compare with."""

    name: str
    title: str
    # Either a Python script for the peer's virtual environment, or a program of the workspace `peers/rust`.
    script: str | None = None
    program: str | None = None
    tasks: tuple[str, ...] = ("predict",)
    settings: tuple[Setting, ...] = (Setting("default"),)


TRAINING = ("predict", "frozen", "fine-tune=15", "full")

PEERS = [
    Peer("keras", "Keras", script="keras_peer.py", tasks=(*TRAINING, "process"), settings=KERAS),
    Peer("torch", "PyTorch", script="torch_peer.py", tasks=TRAINING, settings=TORCH),
    Peer("onnxruntime", "ONNX Runtime", script="onnxruntime_peer.py"),
    Peer("openvino", "OpenVINO", script="openvino_peer.py", settings=OPENVINO),
    Peer("burn", "Burn flex", program="peer-burn", tasks=TRAINING, settings=RUST),
    # It can't fine-tune: at batch size 16, gradients for more than the head need more memory than most machines have.
    Peer("candle", "candle", program="peer-candle", tasks=("predict", "frozen"), settings=RUST),
]


def settings_of(peer: Peer, row: Row) -> list[Setting]:
    """The settings to try for a row. On the bf16 row they include bf16 variants."""
    if not row.bf16:
        return list(peer.settings)
    in_bf16 = [Setting(f"bf16, {s.name}", {**s.options, "bf16": True}, s.environment) for s in peer.settings]
    # The floor over PyTorch compares with its bf16, the floor over Keras with its fastest setting in bf16 or f32.
    return in_bf16 if peer.name == "torch" else in_bf16 + list(peer.settings)


def peers_of(row: Row) -> list[Peer]:
    """The peers that support a row. Only Keras can be limited to AVX2; only Keras and PyTorch train in bf16."""
    if row.isa:
        return [peer for peer in PEERS if peer.name == "keras"]
    if row.bf16:
        return [peer for peer in PEERS if peer.name in ("keras", "torch")]
    return [peer for peer in PEERS if row.task in peer.tasks]
