"""Pictures in one style, with prompts that name the style."""

from ldm.data import personalized

TEMPLATES = (
    "a painting in the style of {}", "a rendering in the style of {}", "a drawing in the style of {}",
    "a picture in the style of {}", "an illustration in the style of {}", "an artwork in the style of {}",
    "a cropped painting in the style of {}", "the painting in the style of {}", "a clean painting in the style of {}",
    "a dark painting in the style of {}", "a bright painting in the style of {}", "a cool painting in the style of {}",
    "a close-up painting in the style of {}", "a nice painting in the style of {}",
    "a small painting in the style of {}",
    "a large painting in the style of {}", "a weird painting in the style of {}", "a rich painting in the style of {}",
)
DUAL_TEMPLATES = tuple(f"{template} with {{}}" for template in TEMPLATES)


class PersonalizedBase(personalized.PersonalizedBase):
    """As `ldm.data.personalized.PersonalizedBase`, for a style (Gal et al., arXiv 2208.01618, section 5.3)."""

    templates, dual_templates = TEMPLATES, DUAL_TEMPLATES
