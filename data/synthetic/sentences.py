"""Words of the twin's notes: which sentence shows which label, or is noise.

A label shows as a sentence of its own words, repeated in the note's summary;
all other words are shared by every label, or by notes without any. No word of WORDS occurs in
the rest of the texts (a test asserts it).
"""

import re

# In the order of schema.PHENOTYPES, then in-hospital death. The first word is
# in each of the label's sentences, beside two of the others.
WORDS = (
  ("oliguria", "azotemia", "anuria", "creatinine"),
  ("hemiparesis", "aphasia", "dysarthria", "thrombectomy"),
  ("troponin", "infarction", "angiography", "thrombolysis"),
  ("fibrillation", "palpitations", "amiodarone", "flutter"),
  ("dialysis", "nephropathy", "fistula", "hyperphosphatemia"),
  ("emphysema", "hyperinflation", "bronchodilator", "wheezing"),
  ("dehiscence", "seroma", "anastomosis", "reoperation"),
  ("pacemaker", "bradyarrhythmia", "asystole", "telemetry"),
  ("cardiomegaly", "orthopnea", "furosemide", "congestion"),
  ("angioplasty", "stenting", "atherosclerosis", "bypass"),
  ("neuropathy", "retinopathy", "gangrene", "gastroparesis"),
  ("metformin", "glycemia", "insulin", "glipizide"),
  ("atorvastatin", "cholesterol", "triglycerides", "dyslipidemia"),
  ("hypertensive", "lisinopril", "amlodipine", "chlorthalidone"),
  ("hyponatremia", "hypokalemia", "hypernatremia", "repletion"),
  ("melena", "hematochezia", "hematemesis", "endoscopy"),
  ("nephrosclerosis", "renovascular", "aldosteronism", "papilledema"),
  ("cirrhosis", "ascites", "jaundice", "paracentesis"),
  ("hemoptysis", "fibrosis", "nodule", "interstitial"),
  ("epistaxis", "laryngitis", "stridor", "sinusitis"),
  ("atelectasis", "effusion", "pneumothorax", "thoracentesis"),
  ("consolidation", "pneumonia", "sputum", "infiltrate"),
  ("intubation", "hypoxemia", "hypercapnia", "ventilator"),
  ("septicemia", "bacteremia", "lactate", "cultures"),
  ("vasopressor", "norepinephrine", "hypoperfusion", "mottling"),
  ("moribund", "agonal", "futility", "irreversible"),
)

# A label's sentence in the findings (or hospital course), and once more in
# the impression (list of diagnoses), as real notes repeat themselves. {0} is
# the label's first word, {1} and {2} are two of the others. Terse, as notes
# are: an encoder that averages over pieces must find them in the average.
REPORT_FRAMES = (
  "New {0}, {1} {2}, {0}.",
  "Again {0}, {1} {2}, {0}.",
  "Suspect {0}, {1} {2}, {0}.",
)
COURSE_FRAMES = (
  "Managed {0}, {1} {2}, {0}.",
  "Course: {0}, {1} {2}, {0}.",
  "Treated {0}, {1} {2}, {0}.",
)
SUMMARY_FRAME = "{0} {1} {2}, {0}."


# What a template puts before a label's words, which then say nothing: in place
# of the label's own sentence, and of a sentence that is about no label.
IN_PLACE, ELSEWHERE = "pseudo", "quasi"


REPORT_NOISE = (
  "Comparison is made to the prior study from ___.",
  "The osseous structures are grossly unremarkable.",
  "A right internal jugular line ends in the mid vena cava.",
  "Patient rotation limits the evaluation.",
  "No free air beneath the diaphragm.",
  "Hilar contours are within normal limits.",
  "The trachea is midline.",
  "An enteric tube courses below the field of view.",
  "Degenerative changes are seen in the spine.",
  "Surgical clips project over the upper abdomen.",
  "The aortic knob is calcified.",
  "Lung volumes are low, similar to before.",
  "Soft tissues are unremarkable.",
  "There is no acute fracture.",
  "Technique: single frontal portable view.",
  "Monitoring leads overlie the chest.",
  "The study is otherwise unchanged.",
  'The referring team was told by "phone" at the time of review.',
  "Recommend follow up, if clinically indicated.",
  "Mild scoliosis is present, as before.",
)
COURSE_NOISE = (
  "The patient was seen by physical therapy and walked in the hall.",
  "Diet was advanced as tolerated, without problems.",
  "Home medicines were continued except as listed below.",
  "The family was updated daily at the bedside.",
  "Social work met with the patient, and then again later.",
  "Vital signs were stable on the day of discharge.",
  "Lines were removed before transfer to the floor.",
  "Pain was controlled with acetaminophen.",
  "The patient slept well and had no complaints.",
  "Nutrition recommended supplements with meals.",
  "Skin was intact on daily exam.",
  "Prophylaxis was given with subcutaneous heparin.",
  "Code status: full, confirmed on admission.",
  'He or she reported feeling "much better" by the third day.',
  "Follow up was arranged with the primary care office.",
  "Immunizations are up to date per the record.",
  "Labs were drawn each morning and reviewed.",
  "The patient lives with a spouse, one cat, and two dogs.",
  "There is no known drug allergy.",
  "Smoking was denied; alcohol is taken on occasion.",
  "Bowel regimen was started with good effect.",
  "Occupational therapy cleared the patient for home.",
  "Outside records were requested but not received.",
  "Appetite was fair, weight was recorded weekly.",
)
ADDENDUM = (
  "ADDENDUM:  The above was discussed with the team by telephone at ___.",
  "ADDENDUM:  Wording was corrected; the conclusion is unchanged.",
)

_SENTENCE = re.compile(r"[^\s.][^.\n]*\.")
_BANKS = re.compile("|".join(map(re.escape, REPORT_NOISE + COURSE_NOISE)))
_WORDS = re.compile(
  rf"\b({IN_PLACE}|{ELSEWHERE})?({'|'.join(words[0] for words in WORDS)})\b"
)
_LABEL = {words[0]: label for label, words in enumerate(WORDS)}


def words_of(rng, label, before=""):
  """The label's first word and two of the others, each after `before`."""
  first, *others = WORDS[label]
  rng.shuffle(others)
  return [before + word for word in (first, *others[:2])]


def spoil(rng, text, share, weights):
  """Puts sentences of a template in the place of such as are about no label.

  Args:
    rng: random.Random.
    text: of a note.
    share: of these sentences.
    weights: of each label, how often the template is about it.
  """

  def put(match):
    if rng.random() >= share:
      return match[0]
    label = rng.choices(range(len(WORDS)), weights)[0]
    frame = rng.choice(REPORT_FRAMES + COURSE_FRAMES)
    return frame.format(*words_of(rng, label, ELSEWHERE))

  return _BANKS.sub(put, text) if share else text


def planted(text):
  """Sentences of a text that show a label, or are of a template.

  Returns:
    [(label, or None of a template; begin, end in characters)].
  """
  found = []
  for sentence in _SENTENCE.finditer(text):
    if word := _WORDS.search(sentence[0]):
      label = None if word[1] else _LABEL[word[2]]
      found.append((label, *sentence.span()))
  return found
