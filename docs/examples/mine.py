"""Your own encoder through Fig. 12: frames (T, B, D) in, states (T, B, H) out."""

from torch import nn

from configs.fig12 import fig12
from tasks.encoders import own


class GRU(nn.Module):
    def __init__(self, frame_size, units=128):
        super().__init__()
        self.rnn = nn.GRU(frame_size, units, num_layers=2)

    def forward(self, frames_TBD):
        return self.rnn(frames_TBD)[0]


def my_fig12(*, units: int = 128):
    return fig12(encoder=own(GRU, units=units), units=units)
