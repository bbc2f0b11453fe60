"""The order in which diffusers' pipelines join the parts of a batch, as read in their sources (diffusers 0.42.1).

`ORDERS` maps the qualified name of a function that calls a network to a rule: it is told the `Caller`, and returns the
names of the batch's equal parts, or None where they are not known. Of a pipeline that is not here, nothing is known.
Left out on purpose: those whose pictures are interleaved (panorama, ParaDiGMS) or packed into lists (Z-Image), those
that perturb a second conditional call (LTX-2), and those without any condition.
"""

from __future__ import annotations

from collections.abc import Callable

from viz.recording.caller import Caller

Order = tuple[str, ...]
Rule = Callable[[Caller], Order | None]

UNCONDITIONAL, CONDITIONAL = "unconditional", "conditional"
PERTURBED, IMAGE_ONLY = "perturbed", "image only"

# Attributes under which pipelines keep the network whose batch the rules are about.
DENOISERS = {"unet", "transformer", "transformer_2", "prior", "decoder", "image_unet", "text_unet"}

# What guiders write on the batch of each of their calls. The model is perturbed in one way or another for the last.
GUIDER_ORDERS = {
    "pred_cond": CONDITIONAL,
    "pred_uncond": UNCONDITIONAL,
    "pred_cond_skip": PERTURBED,
    "pred_cond_seg": PERTURBED,
    "pred_cond_stg": PERTURBED,
}

# latent_model_input = torch.cat([latents] * 2) if do_classifier_free_guidance else latents
# prompt_embeds = torch.cat([negative_prompt_embeds, prompt_embeds])
UNCONDITIONAL_FIRST = """
    Allegro AltDiffusionImg2Img AltDiffusion AnimateDiffControlNet AnimateDiff AnimateDiffSDXL
    AnimateDiffSparseControlNet AnimateDiffVideoToVideoControlNet AnimateDiffVideoToVideo AnyFlowFAR AnyFlow
    AudioLDM2 AudioLDM AuraFlow BlipDiffusionControlNet BlipDiffusion Bria CogVideoXFunControl CogVideoXImageToVideo
    CogVideoX CogVideoXVideoToVideo CogView3Plus ConsisID EasyAnimateControl EasyAnimateInpaint EasyAnimate
    ErnieImage HiDreamImage HunyuanDiTControlNet HunyuanDiT I2VGenXL IFImg2Img IFImg2ImgSuperResolution IFInpainting
    IFInpaintingSuperResolution IF IFSuperResolution Kandinsky3Img2Img Kandinsky3 KandinskyImg2Img KandinskyInpaint
    Kandinsky KandinskyPrior KandinskyV22ControlnetImg2Img KandinskyV22Controlnet KandinskyV22Img2Img
    KandinskyV22Inpaint KandinskyV22 KandinskyV22PriorEmb2Emb KandinskyV22Prior KolorsImg2Img Kolors LTXCondition
    LTXI2VLongMultiPrompt LTXImageToVideo LTX LatentConsistencyModelImg2Img LatentConsistencyModel Latte Mochi
    MusicLDM PIA PRX PRXPixel PaintByExample PixArtAlpha PixArtSigma SanaControlNet SanaImageToVideo Sana SanaVideo
    SanaWM ShapEImg2Img ShapE StableAudio3 StableAudio StableDiffusion3ControlNetInpainting
    StableDiffusion3ControlNet StableDiffusion3Img2Img StableDiffusion3Inpaint StableDiffusion3
    StableDiffusionAdapter StableDiffusionAttendAndExcite StableDiffusionControlNetImg2Img
    StableDiffusionControlNetInpaint StableDiffusionControlNet StableDiffusionControlNetXS StableDiffusionDepth2Img
    StableDiffusionDiffEdit StableDiffusionGLIGEN StableDiffusionGLIGENTextImage StableDiffusionImageVariation
    StableDiffusionImg2Img StableDiffusionInpaint StableDiffusionInpaintPipelineLegacy StableDiffusionLDM3D
    StableDiffusionLatentUpscale StableDiffusionModelEditing StableDiffusion StableDiffusionPix2PixZero
    StableDiffusionUpscale StableDiffusionXLAdapter StableDiffusionXLControlNetImg2Img
    StableDiffusionXLControlNetInpaint StableDiffusionXLControlNet StableDiffusionXLControlNetUnionImg2Img
    StableDiffusionXLControlNetUnionInpaint StableDiffusionXLControlNetUnion StableDiffusionXLControlNetXS
    StableDiffusionXLImg2Img StableDiffusionXLInpaint StableDiffusionXL StableUnCLIPImg2Img StableUnCLIP
    StableVideoDiffusion TextToVideoSD UnCLIPImageVariation UnCLIP VQDiffusion VersatileDiffusionDualGuided
    VersatileDiffusionImageVariation VersatileDiffusionTextToImage VideoToVideoSD
"""

# The same with prompt_embeds = torch.cat([prompt_embeds, negative_prompt_embeds]).
CONDITIONAL_FIRST = "Lumina StableCascadePrior StableCascadeDecoder WuerstchenPrior WuerstchenDecoder"

# One call with encoder_hidden_states=prompt_embeds; a second one with negative_prompt_embeds if guided.
ONE_CALL_EACH = """
    ChromaImg2Img ChromaInpaint Chroma ChronoEdit CogView4Control CogView4 Cosmos2TextToImage Cosmos2VideoToWorld
    Cosmos2_5_PredictBase CosmosTextToWorld CosmosVideoToWorld Flux2KleinInpaint Flux2KleinKV Flux2Klein Flux2
    FluxControlImg2Img FluxControlInpaint FluxControlNetImg2Img FluxControlNetInpaint FluxControlNet FluxControl
    FluxFill FluxImg2Img FluxInpaint FluxKontextInpaint FluxKontext Flux GlmImage Helios HeliosPyramid
    HunyuanSkyreelsImageToVideo HunyuanVideoFramepack HunyuanVideoImageToVideo HunyuanVideo JoyImageEdit
    Kandinsky6TI2VA Krea2 LongCatAudioDiT LongCatImageEdit LongCatImage LucyEdit Lumina2 NucleusMoEImage OvisImage
    QwenImage21 QwenImageControlNetInpaint QwenImageControlNet QwenImageEditInpaint QwenImageEdit QwenImageEditPlus
    QwenImageImg2Img QwenImageInpaint QwenImageLayered QwenImage SkyReelsV2DiffusionForcingImageToVideo
    SkyReelsV2DiffusionForcing SkyReelsV2DiffusionForcingVideoToVideo SkyReelsV2ImageToVideo SkyReelsV2
    StableAudio3AudioToAudio StableAudio3Inpaint VisualClozeGeneration WanAnimate WanImageToVideo Wan WanVACE
    WanVideoToVideo
"""

# Perturbed-attention guidance: _prepare_perturbed_attention_guidance(prompt_embeds, negative_prompt_embeds, …)
PERTURBED_ATTENTION = """
    AnimateDiffPAG HunyuanDiTPAG KolorsPAG PixArtSigmaPAG SanaPAG StableDiffusion3PAG StableDiffusion3PAGImg2Img
    StableDiffusionControlNetPAG StableDiffusionControlNetPAGInpaint StableDiffusionPAG StableDiffusionPAGImg2Img
    StableDiffusionPAGInpaint StableDiffusionXLControlNetPAG StableDiffusionXLControlNetPAGImg2Img
    StableDiffusionXLPAG StableDiffusionXLPAGImg2Img StableDiffusionXLPAGInpaint
"""


def unconditional_first(caller: Caller) -> Order | None:
    return when(caller.is_guided(), (UNCONDITIONAL, CONDITIONAL))


def conditional_first(caller: Caller) -> Order | None:
    return when(caller.is_guided(), (CONDITIONAL, UNCONDITIONAL))


def one_call_each(caller: Caller) -> Order | None:
    conditional, unconditional = caller.passes("prompt_embeds"), caller.passes("negative_prompt_embeds")
    if conditional == unconditional:
        return None
    return (CONDITIONAL,) if conditional else (UNCONDITIONAL,)


def perturbed_attention(caller: Caller) -> Order | None:
    order = unconditional_first(caller)
    return order and (*order, PERTURBED) if caller.pipeline.do_perturbed_attention_guidance else order


def by_scale(order: Order, unguided: Callable[[float], bool] = lambda scale: not scale > 1) -> Rule:
    """Of a pipeline that joins its batch by the number `guidance_scale` alone."""
    return lambda caller: when(not unguided(caller.variables["guidance_scale"]), order)


def when(guided: bool | None, order: Order) -> Order | None:
    return None if guided is None else order if guided else (CONDITIONAL,)


def self_attention_guidance(caller: Caller) -> Order | None:
    """After each call, another with a blurred picture and the words of one half."""
    return ("degraded",) if caller.passes("degraded_latents") else unconditional_first(caller)


def instruct_pix2pix(caller: Caller) -> Order | None:
    return when(caller.is_guided(), (CONDITIONAL, IMAGE_ONLY, UNCONDITIONAL))


def dream_lite(caller: Caller) -> Order:
    editing = caller.variables["task"] != "generate"
    return (UNCONDITIONAL, IMAGE_ONLY, CONDITIONAL) if editing else (UNCONDITIONAL, CONDITIONAL)


def omni_gen(caller: Caller) -> Order:
    with_images = caller.variables["num_cfg"] == 2
    return (CONDITIONAL, UNCONDITIONAL, IMAGE_ONLY) if with_images else (CONDITIONAL, UNCONDITIONAL)


def semantic_guidance(caller: Caller) -> Order | None:
    order = unconditional_first(caller)
    return order and order + edits(caller.variables["enabled_editing_prompts"]) if order != (CONDITIONAL,) else order


def safe_guidance(caller: Caller) -> Order | None:
    order = unconditional_first(caller)
    return order and (*order, "safety concept") if caller.variables["enable_safety_guidance"] else order


def ledits(caller: Caller) -> Order:
    return (UNCONDITIONAL, *edits(caller.pipeline.enabled_editing_prompts))


def edits(count: int) -> Order:
    return tuple(f"edit {i + 1}" for i in range(count))


def of_denoisers(rule: Rule) -> Rule:
    """The same rule, for the denoiser only, and for a ControlNet that is given the very batch of the denoiser."""

    def guarded(caller: Caller) -> Order | None:
        same = caller.component == "controlnet" and caller.passes("latent_model_input")
        return rule(caller) if same or caller.component in DENOISERS else None

    return guarded


def _orders() -> dict[str, Rule]:
    families: dict[str, Rule] = {
        UNCONDITIONAL_FIRST: unconditional_first,
        CONDITIONAL_FIRST: conditional_first,
        ONE_CALL_EACH: one_call_each,
        PERTURBED_ATTENTION: perturbed_attention,
        "DiT": by_scale((CONDITIONAL, UNCONDITIONAL)),
        "Amused AmusedImg2Img AmusedInpaint BriaFibo BriaFiboEdit": by_scale((UNCONDITIONAL, CONDITIONAL)),
        "LDMTextToImage": by_scale((UNCONDITIONAL, CONDITIONAL), lambda scale: scale == 1),
        "StableDiffusionSAG": self_attention_guidance,
        "StableDiffusionInstructPix2Pix StableDiffusionXLInstructPix2Pix": instruct_pix2pix,
        "DreamLite": dream_lite,
        "OmniGen": omni_gen,
        "SemanticStableDiffusion": semantic_guidance,
        "StableDiffusionPipelineSafe": safe_guidance,
        "LEditsPPPipelineStableDiffusion LEditsPPPipelineStableDiffusionXL": ledits,
    }
    orders: dict[str, Rule] = {}
    for names, rule in families.items():
        for name in names.split():
            class_name = name if "Pipeline" in name else f"{name}Pipeline"
            orders[f"{class_name}.__call__"] = of_denoisers(rule)
    return orders


ORDERS = _orders()
