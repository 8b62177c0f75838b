"""Labels of the tasks that predict at every hour of a stay.

The field's benchmark (Harutyunyan et al. 2019): whole hours later than four
after intime, once something was measured; whether death follows within a day,
or how many hours of the stay are left.

Dims: L hours.
"""

import numpy as np

FIRST = 5
SOON = 24.0


def label(task, first, end, lived, ends=np.inf):
  """What is to be predicted at each hour of one stay.

  Args:
    task: decompensation or length_of_stay.
    first: hour of the first measurement.
    end: length of the stay in hours.
    lived: hours from intime to death, infinite if the patient survived.
    ends: hours from intime on at which nothing is predicted any more: of the
      dead.

  Returns:
    (hours f32[L], label f32[L 1]): 1 where death follows within 24 hours, or
    the hours that are left. L is 0 for a stay that ends before the first.
  """
  start = max(FIRST, int(np.ceil(first)))
  hours = np.arange(start, int(end) + 1, dtype=np.float64)
  hours = hours[hours < ends]
  if task == "length_of_stay":
    found = end - hours
  else:
    hours = hours[hours < lived]
    found = lived - hours < SOON
  return hours.astype(np.float32), found.astype(np.float32)[:, None]
