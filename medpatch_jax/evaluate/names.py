"""Labels' names that fit a table of 100 columns."""

NAME = 22

# The names of the phenotyping benchmark, each told by at most 22 characters.
SHORT = {
  "Acute and unspecified renal failure": "Acute renal failure",
  "Acute cerebrovascular disease": "Acute cerebrovascular",
  "Acute myocardial infarction": "Acute myocardial inf.",
  "Cardiac dysrhythmias": "Cardiac dysrhythmias",
  "Chronic kidney disease": "Chronic kidney disease",
  "Chronic obstructive pulmonary disease and bronchiectasis": "COPD",
  "Complications of surgical procedures or medical care": (
    "Surgical complications"
  ),
  "Conduction disorders": "Conduction disorders",
  "Congestive heart failure; nonhypertensive": "Congestive heart fail.",
  "Coronary atherosclerosis and other heart disease": "Coronary atheroscl.",
  "Diabetes mellitus with complications": "Diabetes, with compl.",
  "Diabetes mellitus without complication": "Diabetes, no compl.",
  "Disorders of lipid metabolism": "Lipid disorders",
  "Enlarged Cardiomediastinum": "Enl. cardiomediastinum",
  "Essential hypertension": "Essential hypertension",
  "Fluid and electrolyte disorders": "Fluid, electrolytes",
  "Gastrointestinal hemorrhage": "GI hemorrhage",
  "Hypertension with complications and secondary hypertension": (
    "Hypertension, compl."
  ),
  "Other liver diseases": "Other liver diseases",
  "Other lower respiratory disease": "Other lower respir.",
  "Other upper respiratory disease": "Other upper respir.",
  "Pleurisy; pneumothorax; pulmonary collapse": "Pleurisy, pneumothorax",
  "Pneumonia (except that caused by tuberculosis or sexually transmitted"
  " disease)": "Pneumonia",
  "Respiratory failure; insufficiency; arrest (adult)": ("Respiratory failure"),
  "Septicemia (except in labor)": "Septicemia",
  "Shock": "Shock",
}


def shorten(name: str, width: int = NAME) -> str:
  """A label's name in at most `width` characters, cut between words."""
  short = SHORT.get(name, name)
  if len(short) <= width:
    return short
  cut = short[: width - 1]
  if short[width - 1] != " " and " " in cut:
    cut = cut.rsplit(" ", 1)[0]
  return cut.rstrip(" ,;(") + "."
