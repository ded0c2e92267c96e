"""Three-state labels: each entry of the label matrix is positive, negative or hidden."""

from labelattack.files.names import check_names as check_names
from labelattack.labels.containers.arrays import decode as decode
from labelattack.labels.encoding import Encoding as Encoding
from labelattack.labels.encoding import check_encoding as check_encoding
from labelattack.labels.encoding import encode as encode
from labelattack.labels.files import LabelTable as LabelTable
from labelattack.labels.files import read_labels as read_labels
from labelattack.labels.files import with_mask as with_mask
from labelattack.labels.files import write_labels as write_labels
from labelattack.labels.layouts import Layout as Layout
from labelattack.labels.partial import BoolArray as BoolArray
from labelattack.labels.partial import PartialLabels as PartialLabels
from labelattack.labels.partial import check_matrix as check_matrix
from labelattack.labels.side_tables import NO_SIDE_TABLES as NO_SIDE_TABLES
from labelattack.labels.side_tables import SideTables as SideTables
