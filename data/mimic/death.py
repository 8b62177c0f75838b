"""The one rule about death, for every task: when it was, and what it ends.

A patient's death is, of what is known,
  1. the earliest `deathtime` of any of the patient's admissions, or, of one
     that ended in death without it, the discharge, or the end of the day `dod`
     where that is earlier and after the admission began;
  2. else the end of the day `dod`, which has no hour.
A stay that begins at that time or later is left out, one that goes on ends
there, and nothing charted later is seen. The discharge notes are no exception.
"""

from data.mimic import plausible


def find(connection):
  """Makes the table `died` (subject_id, time, timed) of patients who died.

  `timed` is false of a death of which only the day is known.

  Args:
    connection: holds patients and admissions.
  """

  def sane(column):
    return f"CASE WHEN NOT {plausible.absurd(column)} THEN {column} END"

  night = f"date_trunc('day', {sane('p.dod')}) + INTERVAL 1 DAY"
  end = (
    f"least({sane('a.dischtime')}, CASE WHEN {night} > a.admittime THEN {night}"
    " END)"
  )
  connection.execute(
    "CREATE TABLE died AS SELECT subject_id, coalesce(timed, night) AS time,"
    " timed IS NOT NULL AS timed FROM (SELECT p.subject_id, min(coalesce("
    f"{sane('a.deathtime')}, CASE WHEN a.hospital_expire_flag = 1 THEN {end}"
    f" END)) AS timed, first({night}) AS night FROM patients p LEFT JOIN"
    " admissions a USING (subject_id) GROUP BY p.subject_id) WHERE"
    " coalesce(timed, night) IS NOT NULL"
  )


def in_hospital():
  """SQL: whether the admission ended in death, 0, 1 or NULL if unknown.

  hospital_expire_flag, but that a death with an hour within the admission is
  one whatever the flag, and that a patient who is said to have been discharged
  alive after the day of the death is neither.
  """
  return (
    "CASE WHEN d.timed AND d.time BETWEEN a.admittime AND a.dischtime THEN 1"
    " WHEN a.hospital_expire_flag = 0 AND d.time <="
    " date_trunc('day', a.dischtime) THEN NULL ELSE a.hospital_expire_flag END"
  )


def seconds(time):
  """SQL: from intime to `time`."""
  return f"(epoch_us({time}) - epoch_us(s.intime)) // 1000000"


def until(rules, death):
  """SQL: (seconds from intime to what ends the stay, to a death in hospital).

  Args:
    rules: `rules.Rules`; with `after_death` "keep" nothing ends a stay but its
      outtime.
    death: SQL, whether the admission ended in death.
  """
  if rules.after_death == "keep":
    # Who died in hospital was discharged so, where no time of death is known.
    lived = seconds("coalesce(a.deathtime, a.dischtime)")
    return "CAST(NULL AS BIGINT)", f"CASE WHEN {death} = 1 THEN {lived} END"
  ends = seconds("d.time")
  return ends, f"CASE WHEN {death} = 1 THEN {ends} END"


def hidden(time):
  """SQL: whether `time` lies after the end of a life, of a row of `stays` s."""
  return f"coalesce({seconds(time)} > s.ends, false)"


def facts(connection):
  """Counts of the chosen stays that a death shortened."""
  cut, by_day = connection.execute(
    "SELECT count(*), count(*) FILTER (NOT timed) FROM chosen WHERE seconds <"
    " planned"
  ).fetchone()
  return {
    "stays_that_end_at_the_death": cut,
    "stays_that_end_with_the_day_of_the_death": by_day,
  }
