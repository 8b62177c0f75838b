"""Files in the format of the PhysioNet Challenge 2012; everything invented."""

import io
import tarfile
import zipfile

HEADER = "Time,Parameter,Value"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


def record(number, *rows, age=60, gender=0, height=-1, icu=3, weight=-1):
  """Text of one record: what is charted at 00:00, then `rows`."""
  first = [
    ("RecordID", number),
    ("Age", age),
    ("Gender", gender),
    ("Height", height),
    ("ICUType", icu),
    ("Weight", weight),
  ]
  lines = [f"00:00,{name},{value}" for name, value in first]
  return "\n".join([HEADER, *lines, *rows]) + "\n"


def charts():
  """Set -> {record: text}; the first of set a is worked out by hand."""
  sets = {"a": {}, "b": {}, "c": {}}
  sets["a"][101] = record(
    101,
    "00:07,HR,73",
    "00:37,HR,77",
    "01:00,Temp,36.5",
    "01:10,Temp,-17.8",  # An error of the chart.
    "01:40,SysABP,0",  # Another one.
    "02:20,MechVent,1",
    "02:30,GCS,-1",
    "02:30,,5",  # Names no parameter.
    "47:59,HR,90",
    "48:00,Urine,40",
    gender=1,
    icu=2,
    weight=70.5,
  )
  for letter, first in (("a", 102), ("b", 301), ("c", 601)):
    for i in range(60):
      number = first + i
      pulse = 70 + 40 * (i % 3 == 0)
      sets[letter][number] = record(
        number,
        *(f"{h:02}:15,HR,{pulse + h % 5}" for h in range(0, 48, 6)),
        age=40 + i % 50,
      )
  return sets


def outcomes(records):
  """Text of an outcomes file: every third one died, and the first."""
  lines = [
    f"{number},10,5,7,-1,{int(i % 3 == 1)}" for i, number in enumerate(records)
  ]
  return "\n".join([OUTCOMES, *lines]) + "\n"


def write(folder, sets=None, forms=("tar", "folder", "zip"), known="ab"):
  """Writes the sets, each in its form, and outcomes of those `known`."""
  folder.mkdir(parents=True, exist_ok=True)
  for (letter, records), form in zip((sets or charts()).items(), forms):
    members = {f"set-{letter}/{n}.txt": t for n, t in records.items()}
    pack(folder, letter, members, form)
    if letter in known:
      text = outcomes(records)
      (folder / f"Outcomes-{letter}.txt").write_text(text)
  return folder


def pack(folder, letter, members, form):
  """Writes one set; a member is text, bytes, or a TarInfo of its own."""
  if form == "folder":
    for name, text in members.items():
      path = folder / name
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(_bytes(text))
  elif form == "zip":
    with zipfile.ZipFile(folder / f"set-{letter}.zip", "w") as archive:
      for name, text in members.items():
        archive.writestr(name, _bytes(text))
  else:
    with tarfile.open(folder / f"set-{letter}.tar.gz", "w:gz") as archive:
      for name, text in members.items():
        if isinstance(text, tarfile.TarInfo):
          archive.addfile(text)
          continue
        member = tarfile.TarInfo(name)
        member.size = len(_bytes(text))
        archive.addfile(member, io.BytesIO(_bytes(text)))


def _bytes(text):
  return text if isinstance(text, bytes) else text.encode()
