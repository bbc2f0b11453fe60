"""Diffusers' pipelines at tiny sizes, by name: all whose batch has an order to be checked and that need no download."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    LCMScheduler,
    LuminaNextDiT2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNet3DConditionModel,
    VQModel,
    WanTransformer3DModel,
)
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade_prior import StableCascadeUNet

from tests.support.batches import (
    BLOCKS,
    MASK,
    PIXELS,
    SIZE,
    WIDTH,
    Encoder,
    Sample,
    Tokenizer,
    called,
    control,
    masked,
    of_prompt,
    pooled,
    prompts,
    stable,
    transformer,
    unet,
    unet_xl,
    with_vae,
    words,
)

CONTROLLED = stable(controlnet=lambda: control(unet()))
CONTROLLED_XL = stable(unet_xl, controlnet=lambda: control(unet_xl()))
READING: dict[str, Any] = {"tokenizer": Tokenizer(), "text_encoder": Encoder()}
EDITED: dict[str, Any] = {"image": PIXELS, "strength": 1.0}
PAINTED: dict[str, Any] = SIZE | {"image": PIXELS, "mask_image": MASK, "strength": 1.0}

STABLE = {
    "StableDiffusionPipeline": Sample(stable(), called(**SIZE, num_images_per_prompt=2)),
    "StableDiffusionImg2ImgPipeline": Sample(stable(), called(**EDITED)),
    "StableDiffusionInpaintPipeline": Sample(stable(), called(**PAINTED)),
    "StableDiffusionUpscalePipeline": Sample(
        stable(lambda: unet(7, num_class_embeds=1000), low_res_scheduler=DDPMScheduler()), called(image=PIXELS)
    ),
    "StableDiffusionDepth2ImgPipeline": Sample(
        stable(lambda: unet(5)), called(**EDITED, depth_map=torch.zeros(1, 16, 16))
    ),
    "StableDiffusionControlNetPipeline": Sample(CONTROLLED, called(image=PIXELS)),
    "StableDiffusionControlNetImg2ImgPipeline": Sample(CONTROLLED, called(**EDITED, control_image=PIXELS)),
    "StableDiffusionControlNetInpaintPipeline": Sample(CONTROLLED, called(**PAINTED, control_image=PIXELS)),
    "StableDiffusionXLPipeline": Sample(stable(unet_xl), called(pooled, **SIZE)),
    "StableDiffusionXLImg2ImgPipeline": Sample(stable(unet_xl), called(pooled, **EDITED)),
    "StableDiffusionXLInpaintPipeline": Sample(stable(unet_xl), called(pooled, **PAINTED)),
    "StableDiffusionXLControlNetPipeline": Sample(CONTROLLED_XL, called(pooled, image=PIXELS)),
    "StableDiffusionXLControlNetImg2ImgPipeline": Sample(CONTROLLED_XL, called(pooled, **EDITED, control_image=PIXELS)),
    "StableDiffusionXLControlNetInpaintPipeline": Sample(
        CONTROLLED_XL, called(pooled, **PAINTED, control_image=PIXELS)
    ),
    "LatentConsistencyModelPipeline": Sample(
        stable(lambda: unet(time_cond_proj_dim=8), scheduler=LCMScheduler()),
        lambda guided: {"prompt_embeds": words(1.0), "num_inference_steps": 2, "output_type": "latent"} | SIZE,
        runs=(False,),
    ),
    "StableDiffusionInstructPix2PixPipeline": Sample(stable(lambda: unet(8)), called(image=PIXELS)),
    "StableDiffusionSAGPipeline": Sample(stable(), called(**SIZE, sag_scale=1.0)),
    "SemanticStableDiffusionPipeline": Sample(
        stable(**READING), called(of_prompt, **SIZE, editing_prompt=["red", "green"], output_type="latent")
    ),
    "StableDiffusionPipelineSafe": Sample(
        stable(**READING, safety_checker=None), called(of_prompt, **SIZE, sld_guidance_scale=100, output_type="latent")
    ),
    "TextToVideoSDPipeline": Sample(
        stable(
            lambda: UNet3DConditionModel(
                block_out_channels=(4, 8),
                layers_per_block=1,
                sample_size=8,
                down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
                up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
                cross_attention_dim=WIDTH,
                attention_head_dim=2,
                norm_num_groups=2,
            )
        ),
        called(**SIZE, num_frames=2),
    ),
}

PERTURBED = {
    "StableDiffusionPAGPipeline": Sample(stable(), called(**SIZE, pag_scale=2.0, num_images_per_prompt=2)),
    "StableDiffusionPAGImg2ImgPipeline": Sample(stable(), called(**EDITED, pag_scale=2.0)),
    "StableDiffusionPAGInpaintPipeline": Sample(stable(), called(**PAINTED, pag_scale=2.0)),
    "StableDiffusionXLPAGPipeline": Sample(stable(unet_xl), called(pooled, **SIZE, pag_scale=2.0)),
    "StableDiffusionXLPAGImg2ImgPipeline": Sample(stable(unet_xl), called(pooled, **EDITED, pag_scale=2.0)),
    "StableDiffusionControlNetPAGPipeline": Sample(CONTROLLED, called(image=PIXELS, pag_scale=2.0)),
    "StableDiffusionXLControlNetPAGPipeline": Sample(CONTROLLED_XL, called(pooled, image=PIXELS, pag_scale=2.0)),
}

SANA: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 4,
    "cross_attention_dim": 8,
    "caption_channels": WIDTH,
    "sample_size": 8,
}
PIXART: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "cross_attention_dim": 8,
    "caption_channels": WIDTH,
    "sample_size": 8,
    "use_additional_conditions": False,
    "norm_type": "ada_norm_single",
}
SD3: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 4,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "caption_projection_dim": 8,
    "pooled_projection_dim": WIDTH,
    "pos_embed_max_size": 16,
}
UNBINNED: dict[str, Any] = SIZE | {"use_resolution_binning": False, "negative_prompt": None}

TRANSFORMERS = {
    "DiTPipeline": Sample(
        with_vae(
            transformer(
                DiTTransformer2DModel,
                flow=False,
                num_attention_heads=2,
                attention_head_dim=4,
                in_channels=4,
                out_channels=4,
                num_layers=1,
                sample_size=8,
                num_embeds_ada_norm=1000,
            )
        ),
        lambda guided: {
            "class_labels": [1, 2],
            "guidance_scale": 3.0 if guided else 1.0,
            "num_inference_steps": 2,
            "output_type": "np",
        },
        network="transformer",
        conditioning="class_labels",
    ),
    "PixArtAlphaPipeline": Sample(
        with_vae(transformer(PixArtTransformer2DModel, flow=False, **PIXART)),
        called(masked, **UNBINNED),
        network="transformer",
    ),
    "PixArtSigmaPipeline": Sample(
        with_vae(transformer(PixArtTransformer2DModel, flow=False, **PIXART)),
        called(masked, **UNBINNED),
        network="transformer",
    ),
    "PixArtSigmaPAGPipeline": Sample(
        with_vae(transformer(PixArtTransformer2DModel, flow=False, **PIXART)),
        called(masked, **UNBINNED, pag_scale=2.0),
        network="transformer",
    ),
    "SanaPipeline": Sample(
        transformer(SanaTransformer2DModel, **SANA),
        called(masked, **UNBINNED | {"height": 64, "width": 64}),
        network="transformer",
    ),
    "SanaPAGPipeline": Sample(
        transformer(SanaTransformer2DModel, **SANA),
        called(masked, **UNBINNED | {"height": 64, "width": 64}, pag_scale=2.0),
        network="transformer",
    ),
    "StableDiffusion3Pipeline": Sample(
        with_vae(transformer(SD3Transformer2DModel, **SD3)), called(pooled, **SIZE), network="transformer"
    ),
    "StableDiffusion3Img2ImgPipeline": Sample(
        with_vae(transformer(SD3Transformer2DModel, **SD3)), called(pooled, **SIZE, **EDITED), network="transformer"
    ),
    "StableDiffusion3PAGPipeline": Sample(
        with_vae(transformer(SD3Transformer2DModel, **SD3)),
        called(pooled, **SIZE, pag_scale=2.0),
        network="transformer",
    ),
    "LuminaPipeline": Sample(
        with_vae(
            transformer(
                LuminaNextDiT2DModel,
                sample_size=8,
                patch_size=2,
                in_channels=4,
                hidden_size=24,
                num_layers=1,
                num_attention_heads=3,
                num_kv_heads=1,
                multiple_of=16,
                learn_sigma=True,
                cross_attention_dim=WIDTH,
            )
        ),
        called(masked, **SIZE),
        network="transformer",
    ),
    "AuraFlowPipeline": Sample(
        with_vae(
            transformer(
                AuraFlowTransformer2DModel,
                sample_size=8,
                in_channels=4,
                out_channels=4,
                num_mmdit_layers=1,
                num_single_dit_layers=1,
                attention_head_dim=4,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                caption_projection_dim=8,
                pos_embed_max_size=64,
            )
        ),
        called(masked, **SIZE),
        network="transformer",
    ),
    "FluxPipeline": Sample(
        with_vae(
            transformer(
                FluxTransformer2DModel,
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                pooled_projection_dim=WIDTH,
                axes_dims_rope=(2, 2, 4),
            )
        ),
        lambda guided: pooled(guided, **SIZE, true_cfg_scale=2.0 if guided else 1.0),
        network="transformer",
    ),
    "WanPipeline": Sample(
        transformer(
            WanTransformer3DModel,
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=WIDTH,
            freq_dim=16,
            ffn_dim=16,
            num_layers=1,
            rope_max_seq_len=16,
        ),
        called(**SIZE, num_frames=1),
        network="transformer",
    ),
}


def cascade(guided: bool) -> dict[str, Any]:
    both = {"prompt_embeds_pooled": words(1.0, length=1), "negative_prompt_embeds_pooled": words(-1.0, length=1)}
    arguments = prompts(guided, **both, height=64, width=64, output_type="pt")
    return {name: value for name, value in arguments.items() if guided or not name.startswith("negative")}


OTHERS = {
    "StableCascadePriorPipeline": Sample(
        lambda: {
            "prior": StableCascadeUNet(
                conditioning_dim=16,
                block_out_channels=(8, 8),
                num_attention_heads=(2, 2),
                down_num_layers_per_block=(1, 1),
                up_num_layers_per_block=(1, 1),
                down_blocks_repeat_mappers=(1, 1),
                up_blocks_repeat_mappers=(1, 1),
                block_types_per_layer=(("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),) * 2,
                clip_text_in_channels=WIDTH,
                clip_text_pooled_in_channels=WIDTH,
                clip_image_in_channels=WIDTH,
                switch_level=(False,),
                in_channels=4,
                out_channels=4,
            ).eval(),
            "scheduler": DDPMWuerstchenScheduler(),
            "text_encoder": Encoder(),
            "resolution_multiple": 16.0,
        },
        cascade,
        network="prior",
        conditioning="clip_text",
    ),
    "KandinskyV22Pipeline": Sample(
        stable(
            lambda: unet(
                out_channels=8,
                addition_embed_type="image",
                encoder_hid_dim=WIDTH,
                encoder_hid_dim_type="image_proj",
            ),
            movq=lambda: VQModel(block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4, **BLOCKS),
        ),
        lambda guided: (
            {
                "image_embeds": torch.ones(1, WIDTH),
                "negative_image_embeds": -torch.ones(1, WIDTH),
                "guidance_scale": 3.0 if guided else 1.0,
                "num_inference_steps": 2,
                "output_type": "latent",
            }
            | SIZE
        ),
        conditioning="added_cond_kwargs.image_embeds",
    ),
    "IFPipeline": Sample(
        stable(lambda: unet(3, out_channels=6, sample_size=16), scheduler=DDPMScheduler(variance_type="learned_range")),
        called(**SIZE, output_type="pt"),
    ),
}

PIPELINES = STABLE | PERTURBED | TRANSFORMERS | OTHERS
